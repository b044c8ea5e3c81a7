"""`coca caption`: thousands of files in a stream, in order, whatever is among them."""

import io
import json
import os
import sys

import numpy as np
import pytest

from tests.tiny_models import encoded_images


def test_caption_is_that_of_the_model(coca, model, photos, capsys):
    names = ["a.png", "beach/d.png"]
    paths = [str(photos / name) for name in names]
    assert coca("caption", *paths, "--num_beams=3", "--prompt=a red") == 0
    encoded = [(photos / name).read_bytes() for name in names]
    expected = model.generate(encoded, sampler="beam", num_beams=3, prompt="a red")
    printed = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert printed == [[path, caption] for path, caption in zip(paths, expected)]


def test_hundreds_of_files_stream_in_order_and_bad_ones_are_skipped(
    coca, model, tmp_path, monkeypatch, capsys
):
    encoded = dict(enumerate(encoded_images(190)))
    bad = {
        3: (b"", "empty"),
        4: (encoded[4][:150], "cannot be decoded"),
        50: (b"no image", "cannot be decoded"),
        51: (None, "no such file"),
        189: (b"GIF89a", "cannot be decoded"),
    }
    paths = [str(tmp_path / f"{number:03d}.png") for number in encoded]
    for number, content in encoded.items():
        content = bad[number][0] if number in bad else content
        if content is not None:
            (tmp_path / f"{number:03d}.png").write_bytes(content)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(paths).encode())))
    assert coca("caption", "-", "--json", "--batch_size=64") == 1
    out, err = capsys.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["image"] for record in records] == paths
    assert {number for number, record in enumerate(records) if "error" in record} == set(bad)
    for number, (_, reason) in bad.items():
        assert reason in records[number]["error"]
        assert f"skipped {paths[number]}: {records[number]['error']}" in err
    assert err.endswith("5 of 190 images were skipped\n")
    good = [number for number in encoded if number not in bad]
    captions, scores = model.generate([encoded[number] for number in good], return_scores=True)
    assert [records[number]["caption"] for number in good] == captions
    np.testing.assert_allclose([records[number]["score"] for number in good], scores, atol=1e-4)


def test_every_input_bad_is_told_without_loading_a_model(coca, tmp_path, capsys):
    (tmp_path / "nothing").mkdir()
    paths = [str(tmp_path / "nothing"), str(tmp_path / "absent.png"), str(tmp_path / "*.jpg")]
    assert coca("caption", *paths, "--model=no/such") == 1
    out, err = capsys.readouterr()
    assert out == ""
    for path, line in zip(paths, err.splitlines()):
        assert line.startswith(f"skipped {path}: ")
    assert "3 of 3 images were skipped" in err


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--model=no/such"], ["no/such"]),
        (["--sampler=fastest"], ["fastest", "greedy"]),
        (["--num_beams=3", "--top_k=2"], ["'beam' has no option 'k'"]),
        (["--temperature=2"], ["'greedy' has no option 'temperature'"]),
        (["--min_length=9", "--max_length=5"], ["min_length=9"]),
    ],
)
def test_wrong_option_is_one_line_and_exit_code_2(coca, photos, capsys, flags, words):
    assert coca("caption", photos / "a.png", *flags) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    for word in words:
        assert word in err


def test_same_seed_draws_the_same_captions(coca, photos, capsys):
    def drawn(*flags):
        assert coca("caption", photos / "a.png", "--top_k=8", *flags) == 0
        return capsys.readouterr().out

    assert drawn("--seed=4") == drawn("--seed=4") != drawn("--seed=5")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every file")
def test_file_without_permission_is_skipped(coca, photos, capsys):
    (photos / "a.png").chmod(0)
    assert coca("caption", photos) == 1
    assert "a.png: permission denied" in capsys.readouterr().err


def test_model_without_tokenizer_is_refused(coca, photos, tmp_path, capsys):
    from tests.tiny_models import tiny_coca

    tiny_coca().save_to_preset(tmp_path / "bare")
    assert coca("caption", photos, f"--model={tmp_path / 'bare'}") == 2
    assert "has no tokenizer" in capsys.readouterr().err
