"""Exact below the limit; above it the index library, kept beside the embeddings."""

import numpy as np
import pytest

from official_coca.commands.demo import neighbour_search
from official_coca.commands.demo.neighbour_search import NeighbourSearch
from official_coca.commands.embedding_index import EmbeddingIndex, Row
from official_coca.commands.index_writer import IndexWriter


def written(directory, count=3000, width=16, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, width)).astype("float32")
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    writer = IndexWriter(directory, "model", "f00", directory)
    writer.add([Row(str(number), 0, 0) for number in range(count)], values)
    writer.close()
    return EmbeddingIndex(directory)


def test_few_images_are_compared_exactly(tmp_path):
    index = written(tmp_path, 50)
    search = NeighbourSearch(index)
    assert search.method == "exact"
    assert search.nearest(index.embeddings[7], 5) == index.nearest(index.embeddings[7], 5)
    assert not list(tmp_path.glob("*.faiss"))


def test_many_are_searched_by_the_library_with_exact_similarities(tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(neighbour_search, "EXACT_ROWS", 1000)
    index = written(tmp_path)
    search = NeighbourSearch(index)
    hits = 0
    for row in range(0, 3000, 100):
        query = index.embeddings[row]
        expected, found = index.nearest(query, 10), search.nearest(query, 10)
        assert found[0][0] == row and len(found) == 10
        scores = dict(expected)
        common = [(number, score) for number, score in found if number in scores]
        hits += len(common)
        assert [score for _, score in common] == pytest.approx(
            [scores[number] for number, _ in common], abs=1e-5
        )
    assert hits >= 0.95 * 300


def test_library_index_is_kept_until_the_embeddings_change(tmp_path, monkeypatch, capsys):
    pytest.importorskip("faiss")
    monkeypatch.setattr(neighbour_search, "EXACT_ROWS", 1000)
    index = written(tmp_path)
    query = index.embeddings[5]
    first = NeighbourSearch(index).nearest(query, 10)
    assert "3,000 images, once" in capsys.readouterr().err
    assert NeighbourSearch(index).nearest(query, 10) == first
    assert capsys.readouterr().err == ""
    next(tmp_path.glob("*.faiss")).write_bytes(b"damaged")
    assert NeighbourSearch(index).nearest(query, 10) == first
    assert "once" in capsys.readouterr().err
    NeighbourSearch(written(tmp_path, seed=1))
    assert "once" in capsys.readouterr().err
    assert len(list(tmp_path.glob("*.faiss*"))) == 1
