"""The search by blocks against sorting everything."""

import numpy as np
import pytest
from keras import ops

from official_coca.generation.top_tokens import top_tokens


@pytest.mark.parametrize("width", [30, 1000, 49408])
@pytest.mark.parametrize("k", [1, 7, 30])
def test_values_and_ids_equal_top_k(width, k):
    random = np.random.default_rng(width)
    sparse = np.where(random.uniform(size=(4, width)) < 3 / width, 0.0, -np.inf)
    for logits in (random.normal(size=(4, width)), random.integers(0, 9, (4, width)), sparse):
        logits = logits.astype("float32")
        values, token_ids = top_tokens(ops.convert_to_tensor(logits), k)
        expected, expected_ids = ops.top_k(logits, k)
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(token_ids, expected_ids)  # ties by id
