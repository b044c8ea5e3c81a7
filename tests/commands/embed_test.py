"""`coca embed`: images and texts to a .npz file."""

import json
import os

import numpy as np
import pytest


def test_rows_follow_the_arguments(coca, model, photos, tmp_path, capsys):
    output = tmp_path / "new" / "x.npz"
    texts = tmp_path / "texts.txt"
    texts.write_text("the dog\n\nseven\n", encoding="utf-8-sig")  # with a BOM
    (photos / "c.png").write_bytes(b"no image")
    assert (
        coca(
            "embed", "a red cat", photos, "three", "--batch_size=2", f"--output={output}",
            "--text=a/b", f"--texts_file={texts}",
        )
        == 1
    )  # fmt: skip
    with np.load(output) as written:
        embeddings, names, kinds = written["embeddings"], written["names"], written["kinds"]
    images = [str(photos / name) for name in ("a.png", "b.PNG", "beach/d.png", "beach/e.png")]
    assert list(names) == ["a red cat", *images, "three", "a/b", "the dog", "seven"]
    assert list(kinds) == ["text"] + ["image"] * 4 + ["text"] * 4
    assert embeddings.dtype == np.float32 and embeddings.shape == (9, 16)
    encoded = [open(path, "rb").read() for path in images]
    np.testing.assert_allclose(embeddings[1:5], model.encode_image(encoded), atol=1e-5)
    expected = model.encode_text([str(name) for name in names[kinds == "text"]])
    np.testing.assert_allclose(embeddings[kinds == "text"], expected, atol=1e-5)
    assert "1 of 10 inputs was skipped" in capsys.readouterr().err
    assert os.listdir(output.parent) == ["x.npz"]


def test_json_gives_one_embedding_a_line(coca, photos, capsys):
    assert coca("embed", photos / "a.png", "a dog", "--json") == 0
    image, text = map(json.loads, capsys.readouterr().out.splitlines())
    assert image["image"] == str(photos / "a.png") and text["text"] == "a dog"
    for record in (image, text):
        assert np.linalg.norm(record["embedding"]) == pytest.approx(1, abs=1e-5)


def test_failure_leaves_an_old_file_as_it_was(coca, photos, tmp_path, monkeypatch, capsys):
    from official_coca.models.coca import CoCa

    output = tmp_path / "x.npz"
    output.write_bytes(b"old")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(CoCa, "encode_image", stop)
    assert coca("embed", photos, f"--output={output}") == 130
    assert output.read_bytes() == b"old" and not output.with_name("x.npz.new").exists()


def test_link_to_the_output_stays(coca, photos, tmp_path):
    (tmp_path / "link.npz").symlink_to("x.npz")
    assert coca("embed", photos / "a.png", f"--output={tmp_path / 'link.npz'}") == 0
    assert (tmp_path / "link.npz").is_symlink() and len(np.load(tmp_path / "x.npz")["names"]) == 1


def test_nothing_usable_writes_nothing(coca, photos, tmp_path, capsys):
    output = tmp_path / "x.npz"
    assert coca("embed", photos / "notes.txt", f"--output={output}") == 1
    assert not output.exists() and "notes.txt" in capsys.readouterr().err


def test_text_too_long_for_an_array_of_names_is_told_before_the_work(
    coca, photos, tmp_path, capsys
):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(["a" * 3_000_000, *map(str, range(99))]))
    arguments = ["embed", f"--texts_file={texts}", "--model=no/such/model"]
    assert coca(*arguments, f"--output={tmp_path / 'x.npz'}") == 2
    err = capsys.readouterr().err
    assert "3,000,000 characters" in err and "1.1 GiB" in err and err.count("\n") == 1
    assert coca(*arguments, "--json") == 2  # nothing is wrong but the model
    assert "no/such/model" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["phtos/a.png", "--output=x.npz"], ["'phtos/a.png' looks like a path", "--text"]),
        (["cat"], ["--output"]),
        (["cat", "--output={directory}"], ["{directory} does not end in .npz"]),
        (["cat", "--output={directory}/directory.npz"], ["directory.npz is a directory"]),
        (["cat", "--output={directory}/pipe.npz"], ["pipe.npz is a device, a pipe or a socket"]),
        (["cat", "--output={directory}/notes.txt/x.npz"], ["notes.txt/x.npz", "cannot be written"]),
        (["cat", "--output=-"], ["--output=- does not end in .npz", "--json"]),
        (["cat", "--output=out.csv", "--json"], ["--output=out.csv does not end in .npz"]),
        (["--output=x.npz"], ["nothing to embed"]),
        ([" ", "--output=x.npz"], ["text is empty"]),
        (["--texts_file=no/such", "--output=x.npz"], ["--texts_file=no/such"]),
    ],
)
def test_mistake_is_found_before_the_model_is_loaded(coca, photos, capsys, arguments, words):
    os.mkfifo(photos / "pipe.npz")
    (photos / "directory.npz").mkdir()
    arguments = [argument.format(directory=photos) for argument in arguments]
    assert coca("embed", *arguments, "--model=no/such/model") == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    for word in words:
        assert word.format(directory=photos) in err
