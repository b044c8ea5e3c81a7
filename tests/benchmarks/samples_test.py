"""Medians, spreads and differences."""

from benchmarks.side_by_side.samples import largest_difference, summarize


def test_median_and_spread_between_the_quartiles():
    summary = summarize([5.0, 1.0, 3.0, 2.0, 4.0])
    assert summary["median"] == 3.0
    assert summary["spread"] == (4.0 - 2.0) / 3.0
    assert summary["samples"] == [5.0, 1.0, 3.0, 2.0, 4.0]


def test_one_disturbed_sample_changes_neither_much():
    calm, disturbed = summarize([1.0] * 6 + [1.1]), summarize([1.0] * 6 + [50.0])
    assert calm["median"] == disturbed["median"] and calm["spread"] == disturbed["spread"]


def test_few_samples():
    assert summarize([2.0]) == {"median": 2.0, "spread": 0.0, "samples": [2.0]}
    assert summarize([1.0, 3.0])["spread"] == 1.0


def test_largest_difference_of_nested_lists():
    assert largest_difference([[1, 2], [3, 4]], [[1, 5], [3, 4]]) == 3
    assert largest_difference([[1, 2]], [[1, 2]]) == 0


def test_other_shapes_have_no_difference():
    assert largest_difference([1, 2], [1]) is None
    assert largest_difference([[1], [2]], [[1], 2]) is None
