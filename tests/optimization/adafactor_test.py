"""Behaviour of the Adafactor variant, against a NumPy version written from the papers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.optimization.adafactor import Adafactor
from official_coca.optimization.schedules import LinearWarmupLinearDecay


def reference_updates(weight, gradients, rate, beta_1=0.9, cap=0.999, clip=1.0, decay=0.0):
    """The textbook algorithm on one matrix (factored) or vector (not)."""
    weight = weight.astype("float64")
    row, column, full, momentum = 0.0, 0.0, 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        weight = weight - weight * decay * rate
        beta_2 = min(1 - step**-0.8, cap)
        square = gradient.astype("float64") ** 2 + 1e-30
        if weight.ndim == 2:
            row = beta_2 * row + (1 - beta_2) * square.sum(axis=1)
            column = beta_2 * column + (1 - beta_2) * square.sum(axis=0)
            variance = np.outer(row, column) / row.sum()
        else:
            full = beta_2 * full + (1 - beta_2) * square
            variance = full
        update = gradient / np.sqrt(variance)
        update = update / max(1.0, np.sqrt((update**2).mean()) / clip)
        momentum = beta_1 * momentum + (1 - beta_1) * update
        weight = weight - rate * momentum
    return weight


def apply_gradients(optimizer, weight, gradients):
    variable = keras.Variable(weight, name="weight")
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)])
    return variable.numpy()


def draws(shape, steps, seed=0):
    generator = np.random.default_rng(seed)
    weight = generator.normal(size=shape).astype("float32")
    return weight, [
        (generator.normal(size=shape) * 10.0 ** generator.uniform(-3, 1)).astype("float32")
        for _ in range(steps)
    ]


@pytest.mark.parametrize("shape", [(33, 40), (50,)])
@pytest.mark.parametrize("cap", [0.999, 0.5])
def test_updates_equal_the_textbook(shape, cap):
    weight, gradients = draws(shape, steps=12)
    optimizer = Adafactor(0.1, beta_2_cap=cap, momentum_dtype="float32", weight_decay=0.3)
    actual = apply_gradients(optimizer, weight, gradients)
    expected = reference_updates(weight, gradients, 0.1, cap=cap, decay=0.3)
    np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=2e-5)


def test_state_is_about_half_a_copy_of_a_large_matrix():
    optimizer = Adafactor(0.1)
    optimizer.build([keras.Variable(np.zeros((256, 512), "float32"))])
    size = sum(
        np.prod(v.shape) * (2 if v.dtype == "bfloat16" else 4) for v in optimizer.variables
    )
    assert size < 0.52 * 256 * 512 * 4


def test_two_largest_dimensions_are_factored_wherever_they_stand():
    optimizer = Adafactor(0.1, beta_1=0.0)
    optimizer.build([keras.Variable(np.zeros((64, 3, 48), "float32"))])
    shapes = sorted(tuple(v.shape) for v in optimizer.variables if len(v.shape) > 0)
    assert shapes == [(3, 48), (64, 3)]


def test_step_does_not_depend_on_the_size_of_the_weights():
    weight, gradients = draws((40, 40), steps=3)
    moves = [
        apply_gradients(Adafactor(0.1, weight_decay=None), weight * scale, gradients)
        - weight * scale
        for scale in (1.0, 8.0)
    ]
    np.testing.assert_allclose(moves[0], moves[1], atol=1e-5)


def test_zero_gradient_leaves_finite_weights():
    weight, _ = draws((40, 40), steps=1)
    actual = apply_gradients(Adafactor(0.1), weight, [np.zeros_like(weight)] * 2)
    assert np.isfinite(actual).all()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_fit_learns_a_linear_map(jit_compile):
    keras.utils.set_random_seed(0)
    features = np.random.default_rng(0).normal(size=(256, 40)).astype("float32")
    targets = features @ np.random.default_rng(1).normal(size=(40, 33)).astype("float32")
    model = keras.Sequential([keras.layers.Dense(33)])
    model.compile(
        Adafactor(LinearWarmupLinearDecay(0.05, 5, 160), weight_decay=0.0),
        loss="mse",
        jit_compile=jit_compile,
    )
    losses = model.fit(features, targets, batch_size=32, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.05 * losses[0]


@pytest.mark.slow
def test_mirrored_strategy_gives_the_same_weights():
    features = np.random.default_rng(0).normal(size=(64, 40)).astype("float32")
    targets = np.random.default_rng(1).normal(size=(64, 33)).astype("float32")

    def train(strategy):
        with strategy.scope():
            model = keras.Sequential(
                [keras.layers.Input((40,)), keras.layers.Dense(33, kernel_initializer="ones")]
            )
            model.compile(Adafactor(0.05, use_ema=True, ema_momentum=0.5), loss="mse")
        data = tf.data.Dataset.from_tensor_slices((features, targets)).batch(16)
        model.fit(data, epochs=2, verbose=0)
        return model.get_weights()

    plain = train(tf.distribute.get_strategy())
    mirrored = train(tf.distribute.MirroredStrategy(["CPU:0"]))
    for expected, actual in zip(plain, mirrored):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_optimizer_survives_serialisation():
    optimizer = Adafactor(LinearWarmupLinearDecay(0.01, 1, 9), beta_2_cap=0.9, clip_threshold=None)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert copy.get_config() == optimizer.get_config()


def test_decay_outside_the_unit_interval_is_refused():
    with pytest.raises(InvalidInputError, match="beta_1=1.5"):
        Adafactor(0.1, beta_1=1.5)
