"""Embeddings as places on a plane, the same at every start.

Up to `TSNE_ROWS` images t-SNE (van der Maaten & Hinton 2008), begun from the principal components,
shows which images lie close together; its time grows with the square of their number or nearly so,
and above that the map is the two first principal components.

Shapes: N images, E embedding width, M places.
"""

from typing import NamedTuple

import numpy as np

TSNE_ROWS = 2_000
_FEWEST_FOR_TSNE = 10
_MOST_PLACES = 50_000  # that a browser draws smoothly
_CHUNK_ROWS = 65_536


class EmbeddingMap(NamedTuple):
    """Where images lie on a plane.

    Attributes:
        method: how the places were found, for people.
        rows: (M,) the images; all of them, or an even choice if they are too many to draw.
        places: (M, 2) in 0..1; each axis has a scale of its own, as a frame is to be filled.
    """

    method: str
    rows: np.ndarray
    places: np.ndarray


def map_embeddings(embeddings):
    """Returns the `EmbeddingMap` of embeddings (N, E)."""
    count = len(embeddings)
    rows = np.arange(count)
    if count > _MOST_PLACES:
        rows = np.linspace(0, count - 1, _MOST_PLACES).astype(np.int64)
    if _FEWEST_FOR_TSNE <= count <= TSNE_ROWS:
        return EmbeddingMap("t-SNE", rows, _unit_square(_tsne(np.asarray(embeddings))))
    components = _principal_components(embeddings)
    return EmbeddingMap("principal components", rows, _unit_square(embeddings[rows] @ components))


def _tsne(embeddings):
    import threadpoolctl
    from sklearn.manifold import TSNE

    start = embeddings @ _principal_components(embeddings)
    # As scikit-learn scales its own start from principal components.
    start = (start / max(np.std(start[:, 0]), 1e-12) * 1e-4).astype("float32")
    perplexity = min(30, (len(embeddings) - 1) / 3)  # Of 5 to 50, as the paper advises, for many.
    tsne = TSNE(perplexity=perplexity, init=start, random_state=0)
    # Its threads wait for each other by spinning, which slows it down where the model runs too.
    with threadpoolctl.threadpool_limits(1):
        return tsne.fit_transform(embeddings)


def _principal_components(embeddings):
    """(E, 2), the directions of most variance; each one's largest value is positive."""
    count, width = embeddings.shape
    total, products = np.zeros(width), np.zeros((width, width))
    for start in range(0, count, _CHUNK_ROWS):
        chunk = np.asarray(embeddings[start : start + _CHUNK_ROWS], "float64")
        total += chunk.sum(axis=0)
        products += chunk.T @ chunk
    covariance = products / count - np.outer(total, total) / count**2
    components = np.linalg.eigh(covariance)[1][:, ::-1][:, :2]
    if width == 1:
        components = np.pad(components, ((0, 0), (0, 1)))
    largest = np.abs(components).argmax(axis=0)
    return components * np.where(components[largest, [0, 1]] < 0, -1.0, 1.0)


def _unit_square(places):
    """(M, 2) moved and scaled so that they fill the unit square."""
    least, most = places.min(axis=0), places.max(axis=0)
    return (places - least) / np.maximum(most - least, 1e-12)
