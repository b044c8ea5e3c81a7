"""`coca index` and `coca search` together."""

import json
import os
import shutil

import numpy as np
import pytest

from official_coca.commands.embedding_index import EmbeddingIndex
from official_coca.commands.index_lock import writing_lock
from tests.tiny_models import encoded_images, tiny_coca, tiny_preprocessor


@pytest.fixture
def embedded(monkeypatch):
    """Numbers of images of every batch that the model embeds."""
    from official_coca.models.coca import CoCa

    seen, original = [], CoCa.encode_image

    def encode_image(self, images):
        seen.append(len(images))
        return original(self, images)

    monkeypatch.setattr(CoCa, "encode_image", encode_image)
    return seen


def summary(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_index_holds_the_embedding_of_every_image(coca, model, photos, capsys):
    assert coca("index", photos) == 0
    assert "5 images, 5 of them added now" in capsys.readouterr().out
    index = EmbeddingIndex(photos)
    encoded = [open(index.path(row), "rb").read() for row in range(5)]
    np.testing.assert_allclose(index.embeddings, model.encode_image(encoded), atol=1e-5)


def test_second_run_embeds_only_what_is_new_or_changed(coca, photos, embedded, capsys):
    assert coca("index", photos) == 0
    before = EmbeddingIndex(photos)
    kept = {row.path: embedding for row, embedding in zip(before.rows, before.embeddings)}
    embedded.clear()
    one, other = encoded_images(2, seed=9)
    (photos / "new.png").write_bytes(one)
    (photos / "a.png").write_bytes(other)
    (photos / "c.png").unlink()
    capsys.readouterr()
    assert coca("index", photos, "--json") == 0
    assert embedded == [2]
    counts = {"images": 5, "added": 2, "dropped": 2, "skipped": 0}
    assert summary(capsys) == {"index": str(photos / "coca_index"), **counts}
    index = EmbeddingIndex(photos)
    paths = [row.path for row in index.rows]
    assert sorted(paths) == ["a.png", "b.PNG", "beach/d.png", "beach/e.png", "new.png"]
    for path in ("b.PNG", "beach/d.png"):
        np.testing.assert_array_equal(index.embeddings[paths.index(path)], kept[path])
    assert not np.allclose(index.embeddings[paths.index("a.png")], kept["a.png"])
    assert len(list((photos / "coca_index").glob("*.f32"))) == 1


def test_run_without_changes_writes_nothing(coca, photos, embedded):
    (photos / "bad.png").write_bytes(b"no image")
    assert coca("index", photos) == 1
    (photos / "aa.png").write_bytes(encoded_images(1, seed=9)[0])
    assert coca("index", photos) == 1
    before = [(path, path.stat()) for path in (photos / "coca_index").iterdir()]
    before = [(path, status.st_ino, status.st_mtime_ns) for path, status in before]
    embedded.clear()
    assert coca("index", photos) == 1
    assert embedded == []
    for path, number, modified in before:
        if path.name != "lock":
            assert (path.stat().st_ino, path.stat().st_mtime_ns) == (number, modified)


def test_bad_file_is_reported_each_time_and_left_out(coca, photos, capsys):
    (photos / "bad.png").write_bytes(b"no image")
    for _ in range(2):
        assert coca("index", photos, "--json") == 1
        out, err = capsys.readouterr()
        assert json.loads(out.splitlines()[0])["image"] == str(photos / "bad.png")
        assert json.loads(out.splitlines()[-1])["images"] == 5
        assert "bad.png" in err
    assert err.endswith("1 of 1 images to embed was skipped\n")


def test_stopped_run_keeps_what_is_done(coca, photos, embedded, monkeypatch, capsys):
    from official_coca.commands.results import Results

    def stop_at_third(self):
        count(self)
        calls.append(self)
        if len(calls) == 3:
            raise KeyboardInterrupt

    calls, count = [], Results.count
    monkeypatch.setattr(Results, "count", stop_at_third)
    assert coca("index", photos, "--batch_size=2") == 130
    assert len(EmbeddingIndex(photos).rows) == 3
    monkeypatch.setattr(Results, "count", count)
    embedded.clear()
    assert coca("index", photos) == 0
    assert embedded == [2] and len(EmbeddingIndex(photos).rows) == 5


def test_search_finds_the_image_itself_and_orders_by_similarity(coca, model, photos, capsys):
    assert coca("index", photos) == 0
    capsys.readouterr()
    path = str(photos / "beach" / "d.png")
    assert coca("search", photos, path, "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert records[0]["image"] == path and records[0]["score"] == pytest.approx(1, abs=1e-5)
    assert [record["rank"] for record in records] == [1, 2, 3, 4, 5]
    assert coca("search", photos / "coca_index", "a red cat", "--top=2") == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    index = EmbeddingIndex(photos)
    scores = index.embeddings @ np.asarray(model.encode_text(["a red cat"]))[0]
    assert [line[0] for line in lines] == [index.path(row) for row in np.argsort(-scores)[:2]]
    assert float(lines[0][1]) == pytest.approx(scores.max(), abs=1e-4)


def test_index_moves_with_its_images_or_lies_elsewhere(coca, photos, tmp_path, capsys):
    assert coca("index", photos) == 0
    assert coca("index", photos, f"--output={tmp_path / 'elsewhere'}") == 0
    assert os.path.isfile(EmbeddingIndex(tmp_path / "elsewhere").path(0))
    shutil.move(photos, tmp_path / "moved")
    assert os.path.isfile(EmbeddingIndex(tmp_path / "moved").path(0))


def test_another_model_is_refused_by_search_and_indexed_anew(coca, photos, tmp_path, capsys):
    other = tmp_path / "other"
    tiny_coca(seed=1, preprocessor=tiny_preprocessor()).save_to_preset(other)
    assert coca("index", photos) == 0
    capsys.readouterr()
    assert coca("search", photos, "a cat", f"--model={other}") == 2
    assert "was made by the model" in capsys.readouterr().err
    assert coca("index", photos, f"--model={other}", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["added"] == 5 and "embedded anew" in err
    assert coca("search", photos, "a cat") == 0


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["index", "no/such"], ["no/such is not a directory"]),
        (["index", ""], ["DIR='' names no directory"]),
        (["index", "{tmp}/empty"], ["no image file", "empty"]),
        (["index", "{tmp}/photos", "--output={tmp}/other"], ["other", "other files"]),
        (["index", "{tmp}/photos", "--output={tmp}/photos/a.png"], ["a.png cannot be written"]),
        (["search", "{tmp}/photos", "a cat"], ["holds no index", "coca index"]),
        (["search", "{tmp}/photos", "a cat", "--text=a dog"], ["one query"]),
        (["search", "{tmp}/photos", "{tmp}/photos"], ["not one image"]),
    ],
)
def test_mistake_is_one_line_and_exit_code_2(coca, photos, tmp_path, capsys, arguments, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    assert coca(*[argument.format(tmp=tmp_path) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    for word in words:
        assert word in err


def test_two_runs_at_a_time_are_refused(coca, photos, capsys):
    with writing_lock(photos / "coca_index"):
        assert coca("index", photos) == 2
    err = capsys.readouterr().err
    assert "another coca index or coca demo is writing" in err and "--output" in err
    assert coca("index", photos) == 0
