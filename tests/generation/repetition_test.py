"""The repetition penalty against a loop over rows."""

import numpy as np
import pytest

from official_coca.generation.repetition import penalise_repetition


@pytest.mark.parametrize("penalty", [1.0, 1.3, 0.8])
@pytest.mark.parametrize("index", [0, 2, 5])
def test_each_token_so_far_counts_once_and_later_ones_do_not(penalty, index):
    random = np.random.default_rng(index)
    logits = random.normal(size=(3, 9)).astype("float32")
    token_ids = random.integers(0, 9, size=(3, 6)).astype("int32")
    expected = logits.copy()
    for row in range(3):
        for token in set(token_ids[row, : index + 1].tolist()):
            value = logits[row, token]
            expected[row, token] = value * penalty if value < 0 else value / penalty
    found = penalise_repetition(logits, token_ids, index, penalty)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_may_not_be_written_stays_impossible():
    logits = np.array([[-np.inf, 1.0]], "float32")
    assert np.isneginf(penalise_repetition(logits, np.array([[0]], "int32"), 0, 1.5)[0, 0])
