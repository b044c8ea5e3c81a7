"""Behaviour of `build_optimizer` and of the choice of what weight decay leaves alone."""

import keras
import numpy as np
import pytest

from official_coca.errors import InvalidInputError
from official_coca.optimization.adafactor import Adafactor
from official_coca.optimization.build import (
    build_learning_rate,
    build_optimizer,
    variables_without_weight_decay,
)


def variable(name, shape):
    # As in a model, the path has the layers in front of the name.
    with keras.name_scope("model"), keras.name_scope("block"):
        return keras.Variable(np.ones(shape, "float32"), name=name)


@pytest.mark.parametrize(
    "name, kind",
    [("adamw", keras.optimizers.AdamW), ("adafactor", Adafactor), ("sgd", keras.optimizers.SGD)],
)
def test_name_chooses_the_class_and_passes_the_values_on(name, kind):
    optimizer = build_optimizer(
        name, 0.5, weight_decay=0.1, global_clipnorm=2.0, ema_momentum=0.75
    )
    assert isinstance(optimizer, kind)
    assert optimizer.weight_decay == 0.1
    assert optimizer.global_clipnorm == 2.0
    assert optimizer.use_ema and optimizer.ema_momentum == 0.75


@pytest.mark.parametrize("name", ["adamw", "adafactor", "sgd"])
def test_weight_decay_of_zero_decays_nothing(name):
    kernel = variable("kernel", (2, 2))
    optimizer = build_optimizer(name, 0.5, weight_decay=0.0)
    optimizer.build([kernel])
    optimizer.apply([np.zeros((2, 2), "float32")], [kernel])
    np.testing.assert_array_equal(kernel, np.ones((2, 2)))


def test_biases_norms_positions_and_temperature_are_not_decayed():
    kept = [
        variable("bias", (3, 4)),
        variable("gamma", (4,)),
        variable("position_embedding", (1, 9, 4)),
        variable("temperature", ()),
    ]
    decayed = [variable("kernel", (4, 4)), variable("embeddings", (9, 4))]
    assert variables_without_weight_decay(kept + decayed) == kept


def test_weight_decay_shrinks_only_the_variables_it_should():
    kernel, bias = variable("kernel", (2, 2)), variable("bias", (2, 2))
    optimizer = build_optimizer("adamw", 0.5, weight_decay=0.2, not_decayed=[bias])
    optimizer.build([kernel, bias])
    optimizer.apply([np.zeros((2, 2), "float32")] * 2)
    np.testing.assert_allclose(kernel.numpy(), 0.9, rtol=1e-6)
    np.testing.assert_allclose(bias.numpy(), 1.0)


def test_unknown_names_are_refused_with_the_choices():
    with pytest.raises(InvalidInputError, match="adamw, adafactor, sgd"):
        build_optimizer("adam", 0.1)
    with pytest.raises(InvalidInputError, match="constant, linear, cosine"):
        build_learning_rate("step", 0.1, total_steps=5)


def test_rate_is_a_schedule_even_when_constant():
    rate = build_learning_rate("constant", 0.1, warmup_steps=2, total_steps=5)
    assert isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
    assert [round(float(rate(step)), 6) for step in (0, 1, 2, 9)] == [0.05, 0.1, 0.1, 0.1]
