"""Places of embeddings on a plane."""

import numpy as np
import pytest

from official_coca.commands.demo import embedding_map
from official_coca.commands.demo.embedding_map import map_embeddings


def clusters(count, width=16, seed=0):
    """Embeddings around three directions, and which one each belongs to."""
    rng = np.random.default_rng(seed)
    groups = np.arange(count) % 3
    values = np.eye(width)[groups] * 3 + 0.2 * rng.normal(size=(count, width))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype("float32"), groups


@pytest.mark.parametrize("method, limit", [("t-SNE", 2000), ("principal components", 0)])
def test_groups_lie_apart_and_the_map_is_the_same_again(monkeypatch, method, limit):
    monkeypatch.setattr(embedding_map, "TSNE_ROWS", limit)
    monkeypatch.setattr(embedding_map, "_CHUNK_ROWS", 17)
    embeddings, groups = clusters(90)
    shown = map_embeddings(embeddings)
    assert shown.method == method
    np.testing.assert_array_equal(shown.places, map_embeddings(embeddings).places)
    centres = np.stack([shown.places[groups == group].mean(axis=0) for group in range(3)])
    distances = np.linalg.norm(shown.places[:, None] - centres, axis=2)
    np.testing.assert_array_equal(distances.argmin(axis=1), groups)
    assert shown.places.min() == 0 and shown.places.max() == pytest.approx(1)


@pytest.mark.parametrize("count", [1, 2, 5, 10, 12])
def test_few_images_have_places_too(count):
    shown = map_embeddings(clusters(count)[0])
    assert shown.places.shape == (count, 2) and np.isfinite(shown.places).all()


def test_equal_embeddings_have_places_too():
    shown = map_embeddings(np.tile(clusters(1)[0], (20, 1)))
    assert np.isfinite(shown.places).all()


def test_too_many_to_draw_are_chosen_evenly(monkeypatch):
    monkeypatch.setattr(embedding_map, "TSNE_ROWS", 5)
    monkeypatch.setattr(embedding_map, "_MOST_PLACES", 10)
    shown = map_embeddings(clusters(91)[0])
    assert list(shown.rows) == list(range(0, 91, 10)) and len(shown.places) == 10
