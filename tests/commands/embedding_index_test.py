"""The index on disk: exact search, and a kill at any moment."""

import json

import numpy as np
import pytest

from official_coca.commands import embedding_index
from official_coca.commands.embedding_index import EmbeddingIndex, IndexWriter, Row
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


def test_what_is_not_committed_changes_nothing(tmp_path):
    values = embeddings(5)
    written(tmp_path, values)
    killed = IndexWriter(tmp_path, "model", "f00", tmp_path)
    killed.add(rows(5), values)
    killed.add(rows(2, start=5), embeddings(2, seed=1))
    assert len(EmbeddingIndex(tmp_path).rows) == 5
    killed.commit()
    killed.add(rows(2, start=7), embeddings(2, seed=2))
    index = EmbeddingIndex(tmp_path)
    assert len(index.rows) == 7
    np.testing.assert_array_equal(index.embeddings[:5], values)
    again = written(tmp_path, values)
    assert len(again.rows) == 5 and len(list(tmp_path.glob("*.f32"))) == 1


def test_index_without_images_finds_nothing(tmp_path):
    IndexWriter(tmp_path, "model", "f00", tmp_path).close()
    assert EmbeddingIndex(tmp_path).nearest(np.ones(4, "float32"), 3) == []


@pytest.mark.parametrize("damage", ["cut", "data", "key", "rows", "format"])
def test_damaged_index_says_what_to_do(tmp_path, damage):
    written(tmp_path, embeddings(3))
    path = tmp_path / embedding_index.INDEX_FILE
    content = json.loads(path.read_text())
    if damage == "cut":
        path.write_text(path.read_text()[:30])
    elif damage == "data":
        (tmp_path / content["data"]).write_bytes(b"1234")
    else:
        changed = {"key": {"model": None}, "rows": {"rows": [["a"]]}, "format": {"format": 9}}
        content |= changed[damage]
        if damage == "key":
            del content["width"]
        path.write_text(json.dumps(content))
    with pytest.raises(InvalidInputError, match="run coca index again") as caught:
        EmbeddingIndex(tmp_path)
    assert "\n" not in str(caught.value)
