"""Behaviour of the learning-rate schedules."""

import math

import keras
import numpy as np
import pytest

from official_coca.errors import InvalidInputError
from official_coca.optimization.schedules import LinearWarmupCosineDecay, LinearWarmupLinearDecay


def rates(schedule, steps):
    return np.array([float(schedule(step)) for step in steps])


def test_rate_rises_in_equal_parts_and_the_first_update_moves():
    schedule = LinearWarmupLinearDecay(0.8, warmup_steps=4, total_steps=12)
    np.testing.assert_allclose(rates(schedule, range(4)), [0.2, 0.4, 0.6, 0.8], rtol=1e-6)


def test_linear_decay_ends_at_the_final_rate_and_stays():
    schedule = LinearWarmupLinearDecay(0.8, 4, 12, final_learning_rate=0.2)
    np.testing.assert_allclose(rates(schedule, [4, 8, 12, 50]), [0.8, 0.5, 0.2, 0.2], rtol=1e-6)


def test_cosine_decay_follows_half_a_cosine():
    schedule = LinearWarmupCosineDecay(1.0, 0, 100)
    expected = [0.5 * (1 + math.cos(math.pi * step / 100)) for step in (0, 25, 50, 100)]
    np.testing.assert_allclose(rates(schedule, [0, 25, 50, 100]), expected, atol=1e-6)


@pytest.mark.parametrize("kind", [LinearWarmupLinearDecay, LinearWarmupCosineDecay])
def test_schedule_survives_serialisation(kind):
    schedule = kind(0.01, 3, 30, 0.001)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    steps = [0, 2, 3, 17, 30]
    np.testing.assert_array_equal(rates(schedule, steps), rates(copy, steps))


@pytest.mark.parametrize("warmup_steps", [-1, 30, 31])
def test_warm_up_that_does_not_fit_is_refused(warmup_steps):
    with pytest.raises(InvalidInputError, match=f"warmup_steps={warmup_steps}"):
        LinearWarmupLinearDecay(0.01, warmup_steps, 30)
