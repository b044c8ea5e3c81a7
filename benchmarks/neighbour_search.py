"""Recall and time of the search behind `coca demo`, against comparing every embedding.

    python benchmarks/neighbour_search.py --images=100000 [--width=512] [--queries=100]

makes random embeddings of two kinds, and prints for each how long the index took to make, the
milliseconds of a query both ways, and recall@10, the share of the true ten nearest that is found:

    clusters    a hundred images around each centre: what is near is clear
    smooth      a Gaussian of 32 dimensions, mapped at random to the width, and some noise: nothing
                separates the cells of the index, which is hard
"""

import pathlib
import sys
import tempfile
import time

import numpy as np

from official_coca.commands.demo.neighbour_search import EXACT_ROWS, NeighbourSearch
from official_coca.commands.embedding_index import EmbeddingIndex, Row
from official_coca.commands.index_writer import IndexWriter
from official_coca.errors import InvalidInputError
from official_coca.program import ArgumentParser, run_program

_COUNT = 10  # of recall@10
_CHUNK_ROWS = 50_000
_CLUSTER_SIZE = 100
_SMOOTH_DIMENSIONS = 32


def main(arguments):
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--queries", type=int, default=100)
    flags = parser.parse_args(arguments)
    if flags.images <= EXACT_ROWS:
        raise InvalidInputError(f"--images={flags.images}: up to {EXACT_ROWS} the search is exact")
    for kind in (_clusters, _smooth):
        with tempfile.TemporaryDirectory() as directory:
            _measure(kind, flags, directory)


def _measure(kind, flags, directory):
    rng = np.random.default_rng(0)
    draw = kind(rng, flags.images, flags.width)
    writer = IndexWriter(directory, "random", "", directory)
    for start in range(0, flags.images, _CHUNK_ROWS):
        numbers = range(start, min(start + _CHUNK_ROWS, flags.images))
        writer.add([Row(str(number), 0, 0) for number in numbers], draw(len(numbers)))
    writer.close()
    index = EmbeddingIndex(pathlib.Path(directory))
    seconds, search = _timed(lambda: NeighbourSearch(index))
    queries = draw(flags.queries)
    index.nearest(queries[0], _COUNT)  # reads the embeddings from disk
    exact_seconds, exact = _timed(lambda: [index.nearest(query, _COUNT) for query in queries])
    found_seconds, found = _timed(lambda: [search.nearest(query, _COUNT) for query in queries])
    hits = sum(
        len({row for row, _ in one} & {row for row, _ in other})
        for one, other in zip(exact, found)
    )
    print(
        f"{kind.__name__[1:]}: {flags.images:,} images, made in {seconds:.0f} s; a query takes "
        f"{1000 * exact_seconds / flags.queries:.1f} ms exactly and "
        f"{1000 * found_seconds / flags.queries:.1f} ms by {search.method}, recall@{_COUNT} "
        f"{hits / flags.queries / _COUNT:.3f}",
        flush=True,
    )


def _clusters(rng, num_images, width):
    centres = rng.standard_normal((num_images // _CLUSTER_SIZE, width), np.float32)

    def draw(count):
        chosen = centres[rng.integers(0, len(centres), count)]
        return _unit_length(chosen + 0.8 * rng.standard_normal((count, width), np.float32))

    return draw


def _smooth(rng, num_images, width):
    directions = rng.standard_normal((_SMOOTH_DIMENSIONS, width), np.float32)

    def draw(count):
        values = rng.standard_normal((count, _SMOOTH_DIMENSIONS), np.float32) @ directions
        return _unit_length(values + rng.standard_normal((count, width), np.float32))

    return draw


def _unit_length(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def _timed(function):
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    sys.exit(run_program(main))
