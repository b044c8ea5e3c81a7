"""Measures the contestants of a comparison in turns: A B A B ..."""

import contextlib
import os
import sys
import time

from benchmarks.side_by_side import comparisons, peak_memory, samples
from benchmarks.side_by_side.worker_process import WorkerFailure, WorkerProcess

_MOST_CALLS = 50
_MEMORY_MARGIN = 1.2
_PAUSE = 0.3  # seconds; threads of a library spin for a while after their last product


class Alternation:
    """Runs comparisons.

    Args:
        commands: name of a worker → function of nothing to the command that starts it, a list.
        threads: CPUs and threads of each process.
        repeats: measurements of each contestant.
        seconds: that one measurement should last; as many calls are made as fit, at least one.
    """

    def __init__(self, commands, threads, repeats, seconds):
        self._commands = commands
        self._threads = threads
        self._repeats = repeats
        self._seconds = seconds

    def run(self, comparison):
        """The result of a comparison, ready for JSON; a failure is a result too."""
        started = time.time()
        measure = self._cold if comparison.cold else self._warm
        result = {
            "name": comparison.name,
            "model": comparison.model,
            "unit": comparison.unit,
            "available_memory_bytes": peak_memory.available_bytes(),
            "load_average": os.getloadavg()[0],
        }
        try:
            result["contestants"] = measure(comparison)
            result["outputs"] = _compare_outputs(result["contestants"], comparison.tolerance)
        except WorkerFailure as failure:
            result["failure"] = str(failure)
        for contestant in result.get("contestants", ()):
            contestant.pop("raw_outputs", None)
        return {**result, "wall_seconds": round(time.time() - started, 1)}

    def profile(self, comparison, calls):
        """Contestant's label → a way to group → rows of (name, seconds a call)."""
        groups = {}
        for contestant in comparison.contestants:
            with self._start(contestant) as worker:
                worker.ask("prepare", job=contestant.job)
                groups[contestant.label] = worker.ask("profile", calls=calls)
        return groups

    def _start(self, contestant):
        return WorkerProcess(self._commands[contestant.worker](), self._threads)

    def _warm(self, comparison):
        """Both processes stay alive and are measured in turns."""
        with contextlib.ExitStack() as stack:
            workers, prepared = [], []
            for contestant in comparison.contestants:
                if prepared:
                    _require_memory(prepared[-1]["first_peak_bytes"])
                workers.append(stack.enter_context(self._start(contestant)))
                prepared.append(workers[-1].ask("prepare", job=contestant.job))
            # The second call is the first that compiles nothing.
            second = [self._time(worker, 1) for worker in workers]
            calls = [self._calls(call) for call in second]
            # One call that is long enough is a measurement already.
            seconds = [[call] if count == 1 else [] for call, count in zip(second, calls)]
            rates = []
            for turn in range(self._repeats):
                for values, worker, count in zip(seconds, workers, calls):
                    if len(values) == turn:
                        values.append(self._time(worker, count))
                peaks = [worker.ask("memory") for worker in workers]
                rates.append(self._matmul_rates(workers))
        limit = samples.summarize([max(rate.values()) for rate in rates])
        limit["by_library"] = rates
        return [
            _contestant(*measured, limit) | peak | {"calls": count}
            for *measured, peak, count in zip(
                comparison.contestants, prepared, seconds, peaks, calls
            )
        ]

    def _cold(self, comparison):
        """From the start of a new process to its first result."""
        seconds = [[] for _ in comparison.contestants]
        for _ in range(self._repeats):
            answers = []
            for index, contestant in enumerate(comparison.contestants):
                with self._start(contestant) as worker:
                    answers.append(worker.ask("prepare", job=contestant.job))
                    seconds[index].append(time.perf_counter() - worker.started)
        return [
            _contestant(contestant, answer, values, None)
            for contestant, answer, values in zip(comparison.contestants, answers, seconds)
        ]

    def _time(self, worker, calls):
        time.sleep(_PAUSE)
        return worker.ask("time", calls=calls)["seconds"]

    def _calls(self, call):
        """How many calls, of that many seconds each, fill a measurement."""
        return max(1, min(_MOST_CALLS, round(self._seconds / max(call, 1e-6))))

    def _matmul_rates(self, workers):
        rates = {}
        for worker in workers:
            time.sleep(_PAUSE)
            for library, rate in worker.ask("matmul").items():
                rates[library] = max(rate, rates.get(library, 0.0))
        return rates


def _require_memory(needed):
    """The machine must not begin to swap, or to end processes of others."""
    available = peak_memory.available_bytes()
    if available < needed * _MEMORY_MARGIN:
        raise WorkerFailure(
            f"the first contestant took {needed / 1e9:.1f} GB, and only {available / 1e9:.1f} GB "
            "are left for the second; free memory or make the batch smaller"
        )


def _contestant(contestant, answer, seconds, limit):
    summary = samples.summarize(seconds)
    items, flops = answer["items"], answer["flops"]
    result = {
        "label": contestant.label,
        "job": {name: value for name, value in contestant.job.items() if name != "paths"},
        "seconds": summary,
        "items": items,
        "items_per_second": items / summary["median"],
        "build_seconds": answer["build_seconds"],
        "first_call_seconds": answer["first_seconds"],
        "first_peak_bytes": answer["first_peak_bytes"],
        "versions": answer["versions"],
        "raw_outputs": answer["outputs"],
    }
    if limit is not None:
        result["compile_seconds"] = max(0.0, answer["first_seconds"] - summary["median"])
        result["matmul_peak"] = limit
    if flops is not None:
        result["flops"] = flops
        if limit is not None:
            result["peak_fraction"] = flops / summary["median"] / limit["median"]
    return result


def _compare_outputs(contestants, tolerance):
    """Name of an output → how far the contestants' first results are apart."""
    if tolerance is None or len(contestants) < 2:
        return {}
    first, second = (contestant["raw_outputs"] for contestant in contestants)
    compared = {}
    for name in first.keys() & second.keys():
        difference = samples.largest_difference(first[name], second[name])
        limit = 0 if name == "token_ids" else tolerance
        compared[name] = {
            "largest_difference": difference,
            "equal": difference is not None and difference <= limit,
        }
    return compared


def our_command():
    return [sys.executable, "-m", "benchmarks.side_by_side.our_worker"]


def peer_command(peers_python, peer):
    return [str(peers_python), "-m", "benchmarks.side_by_side.peer_worker", peer]


def commands(peers_python):
    """The `commands` of an `Alternation` with official_coca and the peers."""
    made = {comparisons.OURS: our_command}
    for peer in (comparisons.OPEN_CLIP, comparisons.LUCIDRAINS):
        made[peer] = lambda peer=peer: peer_command(peers_python, peer)
    return made
