"""The protocol of a worker: a line of standard input is a request, one of output its answer.

Requests are {"do": "prepare", "job": {...}}, {"do": "time", "calls": n}, {"do": "matmul"},
{"do": "memory"} and {"do": "profile", "calls": n}; the loop ends with its input. Answers are
objects; one with "error" says why a request failed. It needs nothing but NumPy, so that it runs
beside every framework.
"""

import json
import os
import sys
import time
import traceback

import numpy as np

from benchmarks.side_by_side import peak_memory

MATMUL_SIZE = 2048
_MATMUL_REPEATS = 3
_MOST_VALUES = 20_000  # of an output that is sent for comparison


class Worker:
    """Answers requests.

    Args:
        prepare: function of a job's description to a `PreparedJob`.
        products: name → function that multiplies two (MATMUL_SIZE, MATMUL_SIZE) matrices of its
            own; made when first asked for, by a function without arguments.
        profile: function of `run` and a number of calls to {"operation": rows (name, seconds of a
            call)}, and other ways to group them.
        versions: function without arguments to a dict of the versions at work.
    """

    def __init__(self, prepare, products, profile, versions):
        self._prepare = prepare
        self._make_products = products
        self._profile = profile
        self._versions = versions
        self._products = None
        self._job = None

    def prepare(self, job):
        """Builds the job and does it once, which is when it is traced and compiled."""
        started = time.perf_counter()
        self._job = self._prepare(job)
        built = time.perf_counter()
        outputs = self._job.run()
        first = time.perf_counter() - built
        peak = peak_memory.peak_bytes()
        peak_memory.reset_peak()
        return {
            "build_seconds": built - started,
            "first_seconds": first,
            "first_peak_bytes": peak,
            "items": self._job.items,
            "flops": self._job.flops,
            "outputs": {name: _as_list(value) for name, value in outputs.items()},
            "versions": self._versions(),
        }

    def time(self, calls):
        """Seconds of one call, the mean of `calls`."""
        started = time.perf_counter()
        for _ in range(calls):
            self._job.run()
        return {"seconds": (time.perf_counter() - started) / calls}

    def memory(self):
        """The peak since the first call, which had its own."""
        return {"steady_peak_bytes": peak_memory.peak_bytes()}

    def matmul(self):
        """Operations a second of a large float32 product, the best of some, by library."""
        if self._products is None:
            self._products = self._make_products()
            for multiply in self._products.values():
                multiply()
        rates = {}
        for name, multiply in self._products.items():
            seconds = []
            for _ in range(_MATMUL_REPEATS):
                started = time.perf_counter()
                multiply()
                seconds.append(time.perf_counter() - started)
            rates[name] = 2 * MATMUL_SIZE**3 / min(seconds)
        return rates

    def profile(self, calls):
        """Where the seconds of a call go: a way to group them → rows, the largest first."""
        groups = self._profile(self._job.run, calls)
        return {name: sorted(rows, key=lambda row: -row[1]) for name, rows in groups.items()}

    def close(self):
        if self._job is not None and self._job.close is not None:
            self._job.close()

    def serve(self):
        """Answers until the input ends; whatever else is printed goes to standard error."""
        answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = getattr(self, request.pop("do"))(**request)
            except Exception as error:  # noqa: BLE001  The one who asked must hear of all.
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)
        self.close()


def numpy_product():
    """A function that multiplies two matrices with NumPy's own library."""
    matrix = np.ones((MATMUL_SIZE, MATMUL_SIZE), np.float32)
    return lambda: matrix @ matrix


def _as_list(value):
    array = np.asarray(value)
    if array.size > _MOST_VALUES:
        array = array.reshape(-1)[:: -(-array.size // _MOST_VALUES)]
    return array.tolist()
