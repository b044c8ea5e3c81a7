"""Behaviour of the mixture of sources."""

import numpy as np
import pytest

from official_coca.dataloaders.mixture import Mixture, batch_counts
from official_coca.dataloaders.sources import Source
from official_coca.errors import InvalidInputError


def sources(*shares):
    return [Source(f"s{i}", "shards-*", "captions", share) for i, share in enumerate(shares)]


@pytest.mark.parametrize(
    "shares, batch_size, counts",
    [
        ((0.5, 0.5), 8, [4, 4]),
        ((64, 64), 128, [64, 64]),
        ((1, 1, 1), 8, [3, 3, 2]),
        ((0.7, 0.2, 0.1), 10, [7, 2, 1]),
        ((5, 3, 1), 4, [2, 1, 1]),
        ((0.1, 0.9), 3, [0, 3]),
    ],
)
def test_largest_remainder_fills_the_batch(shares, batch_size, counts):
    assert batch_counts(shares, batch_size) == counts


def test_each_half_of_a_batch_has_the_same_mixture():
    choices = list(Mixture(sources(1, 3), 16).choices(0).take(16).as_numpy_iterator())
    assert np.bincount(choices[:8]).tolist() == np.bincount(choices[8:]).tolist() == [2, 6]


def test_source_without_a_place_in_the_batch_is_refused():
    with pytest.raises(InvalidInputError, match="'s0'.*0.1.*batch of 3"):
        Mixture(sources(0.1, 0.9), 3)
    Mixture(sources(0.1, 0.9), 3, mode="sample")


def test_sampling_follows_the_shares_and_varies_between_batches():
    choices = np.array(
        list(Mixture(sources(1, 3), 50, "sample", seed=1).choices(0).take(5000).as_numpy_iterator())
    ).reshape(100, 50)
    assert abs(choices.mean() - 0.75) < 0.03
    assert len(set(choices.sum(axis=1).tolist())) > 3


@pytest.mark.parametrize("mode", ["fixed_shares", "sample"])
def test_positions_are_what_earlier_batches_took(mode):
    mixture = Mixture(sources(1, 2), 6, mode, seed=5)
    choices = list(mixture.choices(0).take(6 * 9).as_numpy_iterator())
    assert mixture.positions(0) == [0, 0]
    assert mixture.positions(7) == np.bincount(choices[:42], minlength=2).tolist()
    assert list(mixture.choices(7).take(12).as_numpy_iterator()) == choices[42:]


def test_unknown_mode_is_refused():
    with pytest.raises(InvalidInputError, match="'random'"):
        Mixture(sources(1), 6, "random")
