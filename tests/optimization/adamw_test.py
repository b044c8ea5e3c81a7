"""Behaviour of the fused AdamW: Keras' own, in fewer operations."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_coca.optimization.adamw import AdamW

ROOT = pathlib.Path(__file__).resolve().parents[2]
TWO_REPLICAS = """
import numpy as np
import tensorflow as tf

devices = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)

import keras
from official_coca.optimization.adamw import AdamW

gradients = np.random.default_rng(0).normal(size=(4, 2, 3, 2)).astype("float32")


def trained(strategy, replicas):
    with strategy.scope():
        variable = keras.Variable(np.ones((3, 2), "float32"))
        optimizer = AdamW(0.1, weight_decay=0.2)
        optimizer.build([variable])

    @tf.function
    def step(of_replicas):
        def update():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            optimizer.apply([of_replicas[number]], [variable])

        strategy.run(update)

    for of_replicas in gradients:
        # A Keras optimizer adds up the gradients of the replicas.
        step(of_replicas if replicas == 2 else of_replicas.sum(0, keepdims=True))
    return variable.numpy()


one = trained(tf.distribute.get_strategy(), 1)
two = trained(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), 2)
assert np.abs(one - 1).max() > 0.1
np.testing.assert_allclose(two, one, rtol=1e-5)
print("equal")
"""


def _variables():
    generator = np.random.default_rng(0)
    return [
        keras.Variable(generator.normal(size=shape).astype("float32"), name=name)
        for name, shape in (("kernel", (3, 4)), ("bias", (4,)), ("scale", ()))
    ]


def _trained(optimizer_class, steps=4, jit_compile=False, excluded=False, **arguments):
    variables = _variables()
    optimizer = optimizer_class(keras.optimizers.schedules.PolynomialDecay(0.1, 10), **arguments)
    if excluded:
        optimizer.exclude_from_weight_decay(var_list=variables[1:2])
    optimizer.build(variables)

    @tf.function(jit_compile=jit_compile)
    def step(gradients):
        optimizer.apply(gradients, variables)

    generator = np.random.default_rng(1)
    for _ in range(steps):
        step([tf.constant(generator.normal(size=v.shape), tf.float32) for v in variables])
    return optimizer, [variable.numpy() for variable in [*variables, *optimizer.variables]]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"weight_decay": 0.2},
        {"weight_decay": 0.2, "excluded": True},
        {"global_clipnorm": 0.5, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3},
        {"use_ema": True, "ema_momentum": 0.5},
        {"gradient_accumulation_steps": 2},
        {"amsgrad": True, "weight_decay": 0.2},
        {"jit_compile": True, "weight_decay": 0.2},
    ],
    ids=str,
)
def test_weights_and_state_equal_those_of_keras(arguments):
    _, ours = _trained(AdamW, **arguments)
    _, theirs = _trained(keras.optimizers.AdamW, **arguments)
    assert len(ours) == len(theirs)
    for left, right in zip(ours, theirs):
        np.testing.assert_allclose(left, right, rtol=2e-5, atol=5e-6)


def test_two_replicas_equal_one():
    # In a process of its own: TensorFlow mixes up the collectives of strategies of one process.
    command = [sys.executable, "-c", TWO_REPLICAS]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout.strip() == "equal", ran.stderr


def test_repeated_rows_of_an_embedding_gradient_add_up():
    table = keras.Variable(np.zeros((3, 2), "float32"))
    optimizer = AdamW(0.1, weight_decay=0.0, epsilon=1.0)
    optimizer.build([table])
    rows = tf.IndexedSlices(tf.constant([[1.0, 1.0], [2.0, 2.0]]), tf.constant([1, 1]), (3, 2))
    optimizer.apply([rows], [table])
    np.testing.assert_allclose(optimizer._momentums[0].numpy()[1], 0.3, rtol=1e-5)
    assert np.all(table.numpy()[[0, 2]] == 0)


def test_a_step_takes_fewer_operations_than_that_of_keras():
    def operations(optimizer_class):
        variables = _variables()
        optimizer = optimizer_class(0.1, weight_decay=0.1)
        optimizer.build(variables)
        step = tf.function(lambda gradients: optimizer.apply(gradients, variables))
        gradients = [tf.zeros(variable.shape) for variable in variables]
        return len(step.get_concrete_function(gradients).graph.get_operations())

    assert operations(AdamW) < 0.6 * operations(keras.optimizers.AdamW)


def test_saved_configuration_makes_the_same_optimizer():
    optimizer = AdamW(0.1, weight_decay=0.3, beta_2=0.9)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(again) is AdamW and again.get_config() == optimizer.get_config()
