"""Behaviour of training checkpoints."""

import keras
import numpy as np
import pytest

from official_coca.errors import InvalidInputError
from official_coca.training.checkpoint import (
    CheckpointCallback,
    TrainingCheckpoint,
    has_checkpoint,
)

FEATURES = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
TARGETS = np.random.default_rng(1).normal(size=(24, 2)).astype("float32")


@keras.saving.register_keras_serializable(package="official_coca_tests")
class Stack(keras.Model):
    """Holds its layers in a list inside a list, which object-based checkpoints overlook."""

    def __init__(self, width=8, depth=2):
        super().__init__(name=None)
        self.blocks = [
            [keras.layers.Dense(width, name=f"block_{index}")] for index in range(depth)
        ]
        self.dropout = keras.layers.Dropout(0.5, seed=3)
        self.head = keras.layers.Dense(2, name="head")
        for (block,) in self.blocks[:1]:
            block.build((None, 4))
        for (block,) in self.blocks[1:]:
            block.build((None, width))
        self.head.build((None, width))
        self.built = True

    def call(self, inputs, training=False):
        for (block,) in self.blocks:
            inputs = block(inputs)
        return self.head(self.dropout(inputs, training=training))


def compiled(optimizer="adamw", **arguments):
    keras.utils.set_random_seed(7)
    model = Stack(**arguments)
    model.compile(optimizer, loss="mse")
    return model


def train(model, batches, callbacks=(), **arguments):
    x, y = (np.concatenate([a[8 * i : 8 * i + 8] for i in batches]) for a in (FEATURES, TARGETS))
    return model.fit(
        x, y, batch_size=8, shuffle=False, verbose=0, callbacks=list(callbacks), **arguments
    )


def test_resumed_run_equals_the_uninterrupted_one(tmp_path):
    whole = compiled()
    train(whole, [0, 1, 2, 0])

    first = compiled()
    train(first, [0, 1], [CheckpointCallback(TrainingCheckpoint(first, tmp_path))])
    second = compiled()
    checkpoint = TrainingCheckpoint(second, tmp_path)
    assert checkpoint.restore_latest() is not None
    assert (checkpoint.step, checkpoint.epoch) == (2, 1)
    train(second, [2, 0])

    for expected, actual in zip(whole.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_every_weight_and_optimizer_slot_comes_back(tmp_path):
    model = compiled()
    train(model, [0, 1, 2])
    TrainingCheckpoint(model, tmp_path).save(1)
    other = compiled()
    for variable in [*other.variables, *other.optimizer.variables]:
        variable.assign(np.zeros(variable.shape))
    TrainingCheckpoint(other, tmp_path).restore_latest()
    before = [*model.variables, *model.optimizer.variables]
    after = [*other.variables, *other.optimizer.variables]
    assert any("block_1" in variable.path for variable in before)
    for expected, actual in zip(before, after, strict=True):
        np.testing.assert_array_equal(np.array(actual), np.array(expected), expected.path)


def test_no_checkpoint_is_not_an_error(tmp_path):
    assert not has_checkpoint(tmp_path / "nowhere")
    assert TrainingCheckpoint(compiled(), tmp_path).restore_latest() is None


def test_only_the_newest_are_kept(tmp_path):
    model = compiled()
    checkpoint = TrainingCheckpoint(model, tmp_path, max_to_keep=2)
    train(model, [0, 1, 2], [CheckpointCallback(checkpoint)], epochs=3)
    assert sorted(path.name for path in tmp_path.glob("*.index")) == [
        "checkpoint-6.index",
        "checkpoint-9.index",
    ]


def test_half_written_checkpoint_is_passed_over(tmp_path):
    model = compiled()
    checkpoint = TrainingCheckpoint(model, tmp_path)
    train(model, [0])
    checkpoint.save(1)
    # What a kill leaves behind: parts of the next one, not yet named the latest.
    (tmp_path / "checkpoint-2.data-00000-of-00001").write_bytes(b"half")
    other = compiled()
    resumed = TrainingCheckpoint(other, tmp_path)
    resumed.restore_latest()
    assert resumed.step == 1


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"width": 16}, ["block_0/kernel", "[4, 8]", "[4, 16]"]),
        ({"depth": 3}, ["no variable model/block_2"]),
        ({"depth": 1}, ["block_1", "not here"]),
        ({"optimizer": "sgd"}, ["optimizer", "not here"]),
    ],
)
def test_other_model_is_refused_with_the_variable_and_shapes(tmp_path, changes, words):
    TrainingCheckpoint(compiled(), tmp_path).save(1)
    with pytest.raises(InvalidInputError) as error:
        TrainingCheckpoint(compiled(**changes), tmp_path).restore_latest()
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
