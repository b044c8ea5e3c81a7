"""Two processes measured in turns, with stand-ins for the frameworks."""

import sys

import pytest

from benchmarks.side_by_side.alternation import Alternation
from benchmarks.side_by_side.comparisons import OPEN_CLIP, OURS, Comparison, Contestant

SECONDS = {OURS: "0.002", OPEN_CLIP: "0.02"}
COMMANDS = {
    name: lambda seconds=seconds: [
        sys.executable, "-m", "tests.benchmarks.stand_in_worker", seconds
    ]
    for name, seconds in SECONDS.items()
}  # fmt: skip


def comparison(own=(), theirs=(), **more):
    sides = ((OURS, own), (OPEN_CLIP, theirs))
    contestants = tuple(Contestant(name, name, {"tokens": 4, **dict(job)}) for name, job in sides)
    return Comparison("captions", "stand-in", contestants, **more)


@pytest.fixture(scope="module")
def runner():
    return Alternation(COMMANDS, threads=1, repeats=3, seconds=0.02)


def test_medians_peaks_and_equal_outputs(runner):
    result = runner.run(comparison())
    ours, peer = result["contestants"]
    assert (ours["label"], peer["label"]) == (OURS, OPEN_CLIP)
    assert 0.002 <= ours["seconds"]["median"] < peer["seconds"]["median"]
    assert len(ours["seconds"]["samples"]) == 3 and ours["calls"] > peer["calls"]
    assert ours["items_per_second"] == 2 / ours["seconds"]["median"]
    assert ours["steady_peak_bytes"] > 1e6 and ours["compile_seconds"] >= 0
    limit = ours["matmul_peak"]["median"]
    assert ours["peak_fraction"] == pytest.approx(1e6 / ours["seconds"]["median"] / limit)
    assert result["outputs"]["token_ids"] == {"largest_difference": 0, "equal": True}
    assert "raw_outputs" not in ours


def test_different_tokens_are_not_equal(runner):
    result = runner.run(comparison(theirs={"tokens": 5}))
    assert result["outputs"]["token_ids"] == {"largest_difference": None, "equal": False}
    assert result["outputs"]["loss"]["equal"]


def test_cold_measurements_take_a_new_process_each(runner):
    result = runner.run(comparison(cold=True))
    ours = result["contestants"][0]
    assert ours["seconds"]["median"] > ours["first_call_seconds"]
    assert len(ours["seconds"]["samples"]) == 3


@pytest.mark.parametrize("how, message", [("politely", "cannot be done"), ("roughly", "gone")])
def test_failure_of_a_worker_is_a_result(runner, how, message):
    result = runner.run(comparison(theirs={"breaks": how}))
    assert message in result["failure"] and "contestants" not in result


def test_profile_of_each_contestant_has_the_largest_first(runner):
    rows = {"operation": [["large", 0.9], ["small", 0.1]]}
    assert runner.profile(comparison(), 2) == {OURS: rows, OPEN_CLIP: rows}
