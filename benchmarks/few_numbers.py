"""Attention and swapped axes of few numbers, with oneDNN's operations and without.

    python benchmarks/few_numbers.py [--repeats=15]

Each is computed 24 times within one graph, and the graphs run in turns. The medians are those of a
single one in microseconds. The last lines of either kind have more numbers than those for which
`official_coca/layers/without_one_dnn.py` leaves oneDNN.
"""

import argparse
import contextlib
import statistics
import time
from unittest import mock

from official_coca.layers import without_one_dnn  # first: it has TensorFlow use oneDNN
from official_coca.layers.attention import attend

import numpy as np
import tensorflow as tf

_CALLS = 24
# (rows x heads, query tokens, key tokens, width of a head)
_ATTENTION = [
    (4, 17, 17, 32),
    (8, 1, 76, 64),
    (64, 1, 76, 64),
    (8, 1, 256, 64),
    (64, 1, 256, 64),
    (512, 17, 17, 16),
    (96, 50, 50, 64),
]
# (batch, tokens, heads, width of a head)
_AXES = [(1, 17, 4, 32), (8, 17, 4, 32), (1, 50, 12, 64), (64, 17, 4, 32)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(0)
    print("| what | with oneDNN | without |\n|---|---|---|")
    for rows, queries, keys, width in _ATTENTION:
        shapes = [(1, rows, count, width) for count in (queries, keys, keys)]
        arrays = [tf.constant(rng.normal(size=shape), tf.float32) for shape in shapes]
        _print(f"attention {rows} x {queries} x {keys} x {width}", attend, arrays, repeats)
    for shape in _AXES:
        arrays = [tf.constant(rng.normal(size=shape), tf.float32)]
        name = "swapped axes " + " x ".join(map(str, shape))
        _print(name, without_one_dnn.swap_axes, arrays, repeats)


def _print(name, function, arrays, repeats):
    ways = {"with": 0, "without": 2**62}
    graphs = {}
    for way, limit in ways.items():
        with _limits(limit):
            graphs[way] = _repeated(function).get_concrete_function(*arrays)
    seconds = {way: [] for way in ways}
    for _ in range(repeats + 2):
        for way, graph in graphs.items():
            started = time.perf_counter()
            graph(*arrays)
            seconds[way].append((time.perf_counter() - started) / _CALLS)
    middle = {way: f"{1e6 * statistics.median(times[2:]):.0f}" for way, times in seconds.items()}
    print(f"| {name} | {middle['with']} | {middle['without']} |", flush=True)


@contextlib.contextmanager
def _limits(limit):
    with (
        mock.patch.object(without_one_dnn, "_LARGEST_PRODUCT", limit),
        mock.patch.object(without_one_dnn, "_FEW_NUMBERS", limit),
    ):
        yield


def _repeated(function):
    """`function` again and again, each time after the last."""

    @tf.function(autograph=False)
    def run(first, *others):
        last = tf.zeros(())
        for _ in range(_CALLS):
            result = function(first + 1e-9 * last, *others)
            last = tf.reshape(result, [-1])[0]
        return last

    return run


if __name__ == "__main__":
    main()
