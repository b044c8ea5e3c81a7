"""The index on disk: exact search, and what cannot be read."""

import errno
import json
import pathlib

import numpy as np
import pytest

from official_coca.commands import embedding_index
from official_coca.commands.embedding_index import EmbeddingIndex, Row
from official_coca.commands.index_writer import IndexWriter
from official_coca.errors import InvalidInputError


def rows(count, start=0):
    return [Row(f"{number}.png", 10, number) for number in range(start, start + count)]


def embeddings(count, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, 6)).astype("float32")
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def written(directory, values):
    writer = IndexWriter(directory, "model", "f00", directory)
    writer.add(rows(len(values)), values)
    writer.close()
    return EmbeddingIndex(directory)


def test_nearest_is_exact_across_chunks_and_ties_go_by_row(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_index, "_CHUNK_ROWS", 7)
    values = embeddings(50)
    values[[3, 11, 29, 44]] = values[20]
    index = written(tmp_path, values)
    found = index.nearest(values[20], 4)
    assert [row for row, _ in found] == [3, 11, 20, 29]
    query = embeddings(1, seed=1)[0]
    scores = values @ query
    found = index.nearest(query, 50)
    assert [row for row, _ in found] == list(np.argsort(-scores, kind="stable"))
    np.testing.assert_allclose([score for _, score in found], np.sort(scores)[::-1], atol=1e-6)
    assert len(index.nearest(query, 1000)) == 50


def test_query_of_another_width_is_refused(tmp_path):
    index = written(tmp_path, embeddings(3))
    with pytest.raises(InvalidInputError, match="6 wide, the query's is 4"):
        index.nearest(np.ones(4, "float32"), 1)


def test_index_without_images_finds_nothing(tmp_path):
    IndexWriter(tmp_path, "model", "f00", tmp_path).close()
    assert EmbeddingIndex(tmp_path).nearest(np.ones(4, "float32"), 3) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"width": None},
        {"width": -1},
        {"width": 0},
        {"width": 2.5},
        {"rows": [["a"]]},
        {"rows": [[None, 1, 1]] * 3},
        {"model": None},
        {"data": None},
        {"data": "embeddings-0123abcd.f32"},  # which is not there
        {"data": "../embeddings-0123abcd.f32"},
        {"data": "index.json"},
        {"format": 9},
    ],
    ids=str,
)
def test_damaged_index_says_what_to_do(tmp_path, changed):
    written(tmp_path, embeddings(3))
    path = tmp_path / embedding_index.INDEX_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    assert_is_damaged(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "key", "data"])
def test_index_that_lacks_something_says_what_to_do(tmp_path, damage):
    data = written(tmp_path, embeddings(3)).data
    path = tmp_path / embedding_index.INDEX_FILE
    if damage == "cut":
        path.write_text(path.read_text()[:30])
    elif damage == "key":
        path.write_text('{"format": 1}')
    else:
        data.write_bytes(b"1234")
    assert_is_damaged(tmp_path)


def assert_is_damaged(directory):
    with pytest.raises(InvalidInputError, match="run coca index again") as caught:
        EmbeddingIndex(directory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["is_file", "read_text"])
def test_index_that_must_not_be_read_is_not_to_be_deleted(tmp_path, monkeypatch, method):
    written(tmp_path, embeddings(3))

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(pathlib.Path, method, refuse)
    with pytest.raises(InvalidInputError, match="index.json cannot be read: Permission") as caught:
        EmbeddingIndex(tmp_path)
    assert "delete" not in str(caught.value)
