"""Tests of running an evaluator during `fit`."""

import csv

import keras
import numpy as np
import pytest

from official_coca.errors import InvalidInputError
from official_coca.evaluation.callback import EvaluationCallback, averaged_weights


class WeightReader:
    """An evaluator whose result is the model's first weight."""

    def __init__(self):
        self.seen = []

    def __call__(self, model):
        self.seen.append(float(np.ravel(model.get_weights()[0])[0]))
        return {"score": self.seen[-1]}


def fit(callbacks, epochs=2, use_ema=False):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    optimizer = keras.optimizers.SGD(0.1, use_ema=use_ema, ema_momentum=0.9)
    model.compile(optimizer=optimizer, loss="mse")
    inputs = np.ones((4, 1), "float32")
    model.fit(inputs, 3 * inputs, epochs=epochs, batch_size=2, verbose=0, callbacks=callbacks)
    return model


def test_results_reach_later_callbacks_under_the_prefix(tmp_path):
    evaluator = WeightReader()
    path = tmp_path / "log.csv"
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.weights.h5",
        monitor="test_score",
        mode="max",
        save_best_only=True,
        save_weights_only=True,
    )
    fit([EvaluationCallback(evaluator, "test"), keras.callbacks.CSVLogger(path), checkpoint])
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["test_score"]) for row in rows] == pytest.approx(evaluator.seen)
    assert float(checkpoint.best) == pytest.approx(max(evaluator.seen))


def test_evaluates_after_the_first_every_nth_and_the_last_epoch():
    evaluator = WeightReader()
    seen = keras.callbacks.History()
    fit([EvaluationCallback(evaluator, "test", every_n_epochs=3), seen], epochs=7)
    assert len(evaluator.seen) == 4  # after epochs 1, 3, 6 and 7
    assert len(seen.history["test_score"]) == 4
    assert len(seen.history["loss"]) == 7


def test_evaluates_when_a_callback_stops_the_training_within_an_epoch():
    def stop(batch, logs):
        if len(evaluator.seen) == 1:  # in the epoch after the first evaluation
            stopper.model.stop_training = True

    evaluator = WeightReader()
    stopper = keras.callbacks.LambdaCallback(on_train_batch_end=stop)
    fit([EvaluationCallback(evaluator, "test", every_n_epochs=5), stopper], epochs=9)
    assert len(evaluator.seen) == 2


def test_moving_averages_are_evaluated_and_training_is_not_touched():
    evaluator = WeightReader()
    during = []
    recorder = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: during.append(recorder.model.get_weights()[0].copy())
    )
    keras.utils.set_random_seed(3)
    fit([EvaluationCallback(evaluator, "test"), recorder], epochs=3, use_ema=True)
    with_evaluation = np.ravel(during).tolist()
    during.clear()
    keras.utils.set_random_seed(3)
    fit([recorder], epochs=3, use_ema=True)
    assert with_evaluation == np.ravel(during).tolist()
    assert all(abs(a - b) > 1e-3 for a, b in zip(evaluator.seen, with_evaluation, strict=True))


def test_training_weights_come_back_when_an_evaluation_fails():
    model = fit([], use_ema=True)
    model.layers[0].kernel.assign([[7.0]])
    with pytest.raises(RuntimeError), averaged_weights(model):
        assert model.get_weights()[0] != 7.0
        raise RuntimeError
    assert model.get_weights()[0] == 7.0


def test_weights_without_moving_averages_are_evaluated_as_they_are():
    evaluator = WeightReader()
    model = fit([EvaluationCallback(evaluator, "test")], epochs=1)
    assert evaluator.seen == [float(model.get_weights()[0][0, 0])]


def test_an_interval_below_one_is_reported():
    with pytest.raises(InvalidInputError, match="every_n_epochs is 0"):
        EvaluationCallback(WeightReader(), "test", every_n_epochs=0)
