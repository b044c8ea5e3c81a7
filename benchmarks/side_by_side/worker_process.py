"""A worker in a process of its own, with the Python and the libraries of its side."""

import json
import os
import pathlib
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
_LAST_LINES = 12  # of a worker that died


class WorkerFailure(RuntimeError):
    """A worker answered with an error, or not at all."""


class WorkerProcess:
    """Starts a worker and talks to it; use it in a `with` block.

    Args:
        command: of the process, a list.
        threads: number of CPUs it may run on, and of threads that its libraries start.

    started: `time.perf_counter` at its start.
    """

    def __init__(self, command, threads):
        self._log = tempfile.TemporaryFile()
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        os.sched_setaffinity(self._process.pid, cpus(threads))

    def ask(self, do, **arguments):
        """Sends a request and returns the answer.

        Raises:
            WorkerFailure: the worker could not do it, or is gone.
        """
        try:
            print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self._process.wait()
            raise WorkerFailure(f"the worker ended with code {code}: {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailure(answer["error"])
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self._process.stdin.close()
            self._process.wait(30)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def _last_words(self):
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return " / ".join(lines[-_LAST_LINES:])


def cpus(threads):
    """The first `threads` of the CPUs that this process may use; None for all."""
    return sorted(os.sched_getaffinity(0))[:threads]


def environment(threads):
    """Variables of a worker: its threads, the checkout, no accelerator, no network."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    names += ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    return {
        **os.environ,
        **dict.fromkeys(names, str(threads)),
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "CUDA_VISIBLE_DEVICES": "-1",
        "HF_HUB_OFFLINE": "1",
    }
