"""The nearest images among up to a million.

Up to `EXACT_ROWS` images every embedding is compared, which is exact. Above, Faiss (Douze et al.
2024, arXiv 2401.08281) finds candidates, whose similarities are then computed exactly:

    IVF   the embeddings are sorted into cells around centres that k-means finds, and only the
          cells nearest to a query are looked through. There are 2 sqrt(N) cells: half as many as
          Faiss' guide advises are sorted into in half the time
    SQ8   within a cell an embedding is held in one byte a dimension, 512 MB for a million

K-means starts from a fixed seed, so that the same images give the same answers. The index lies
beside the embeddings, and is made anew when they have changed.

Shapes: N images, E embedding width.
"""

import contextlib
import os
import sys

import numpy as np
import tqdm

from official_coca.commands.results import bar_options

EXACT_ROWS = 50_000
_FEWEST_CELLS_SEARCHED = 128
_SHARE_OF_CELLS_SEARCHED = 8  # one in eight, of many
_CANDIDATES = 10  # times as many as are asked for, to be compared exactly
_TRAINING_ROWS_A_CELL = 39  # fewer make Faiss' k-means warn
_KMEANS_ROUNDS = 10  # Faiss' own 25 find cells that are hardly better
_CHUNK_ROWS = 65_536
_FILE_PATTERN = "neighbours-*.faiss"


class NeighbourSearch:
    """Searches an `EmbeddingIndex`; makes Faiss' index at first, which takes minutes for a million.

    Args:
        index: an `EmbeddingIndex`.

    Attributes:
        method: how it searches, for people.
    """

    def __init__(self, index):
        self._index = index
        self._faiss = _load_or_make(index) if len(index.rows) > EXACT_ROWS else None
        self.method = "exact" if self._faiss is None else "approximate (Faiss IVF, SQ8)"

    def nearest(self, query, count):
        """Returns the `count` best (row, similarity), best first; of equal ones the lower row.

        Args:
            query: (E,) float32 of length one.
            count: rows at most.
        """
        if self._faiss is None:
            return self._index.nearest(query, count)
        rows = self._faiss.search(query[None], count * _CANDIDATES)[1][0]
        rows = np.sort(rows[rows >= 0])  # -1 fills up where the cells hold fewer
        scores = self._index.embeddings[rows] @ query
        order = np.argsort(-scores, kind="stable")[:count]
        return [(int(rows[place]), float(scores[place])) for place in order]


def _load_or_make(index):
    import faiss

    path = _path(index)
    try:
        made = faiss.read_index(str(path))
    except RuntimeError:  # absent, or damaged
        print(
            f"making the search index of {len(index.rows):,} images, once: with two processor "
            "cores a minute or two for a million",
            file=sys.stderr,
        )
        made = _make(index.embeddings)
        _save(made, path)
    made.nprobe = max(_FEWEST_CELLS_SEARCHED, made.nlist // _SHARE_OF_CELLS_SEARCHED)
    return made


def _make(embeddings):
    import faiss

    num_rows, width = embeddings.shape
    num_cells = int(2 * num_rows**0.5)
    made = faiss.index_factory(width, f"IVF{num_cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    count = min(num_rows, _TRAINING_ROWS_A_CELL * num_cells)
    rows = np.random.default_rng(0).choice(num_rows, count, replace=False)
    faiss.extract_index_ivf(made).cp.niter = _KMEANS_ROUNDS
    made.train(embeddings[np.sort(rows)])
    with tqdm.tqdm(total=num_rows, unit="image", **bar_options()) as bar:
        for start in range(0, num_rows, _CHUNK_ROWS):
            chunk = np.ascontiguousarray(embeddings[start : start + _CHUNK_ROWS])
            made.add(chunk)
            bar.update(len(chunk))
    return made


def _save(made, path):
    import faiss

    fresh = path.with_name(path.name + ".new")
    try:
        faiss.write_index(made, str(fresh))
        os.replace(fresh, path)
    except (OSError, RuntimeError) as error:  # Faiss raises the latter
        print(f"the search index cannot be kept for the next start: {error}", file=sys.stderr)
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        return
    for other in path.parent.glob(_FILE_PATTERN):
        if other != path:
            other.unlink()


def _path(index):
    """Named after the embeddings: rows are appended to their file, and else it has a new name."""
    token = index.data.stem.removeprefix("embeddings-")
    return index.directory / f"neighbours-{token}-{len(index.rows)}.faiss"
