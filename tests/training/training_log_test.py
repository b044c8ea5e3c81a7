"""Behaviour of the training log, the progress line and the stopping of a training."""

import math

import keras
import numpy as np
import pytest

from official_coca.errors import InvalidInputError
from official_coca.training.progress import ProgressLine, duration
from official_coca.training.stopping import StopAtStep, StopOnNaN
from official_coca.training.training_log import (
    EVALUATION_LOG,
    TRAINING_LOG,
    TrainingLog,
    read_evaluation_log,
    read_training_log,
)


class Counting(keras.Model):
    """Its loss is the number of the step, so that every logged value is known beforehand."""

    def __init__(self):
        super().__init__()
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.weight = self.add_weight(shape=(), name="weight", dtype="float32")
        self.built = True

    @property
    def metrics(self):
        return [self.loss_tracker]

    def train_step(self, data):
        step = self.weight.assign(self.weight + 1.0)
        self.loss_tracker.update_state(step)
        self.optimizer.iterations.assign_add(1)
        # Named like a metric of the evaluation "test", which it is not.
        return {"loss": self.loss_tracker.result(), "test_loss": step}


class Evaluation(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs.update({"test_score": 10.0 + epoch, "test_skipped": math.nan, "other": 1.0})


def fit(directory, steps, steps_per_epoch, *, interval, start_step=0, start_epoch=0, extra=()):
    model = Counting()
    model.weight.assign(start_step)
    model.compile(keras.optimizers.SGD(0.5), run_eagerly=True)
    model.fit(
        np.zeros((64, 1), "float32"),
        batch_size=1,
        initial_epoch=start_epoch,
        epochs=start_epoch + math.ceil((steps - start_step) / steps_per_epoch),
        steps_per_epoch=steps_per_epoch,
        verbose=0,
        callbacks=[
            StopAtStep(steps, start_step),
            Evaluation(),
            TrainingLog(directory, 4, interval, start_step, ["test"]),
            *extra,
        ],
    )


def rows(directory):
    return [(row["step"], row["loss"]) for row in read_training_log(directory)]


def test_row_is_the_mean_over_the_steps_since_the_last(tmp_path):
    fit(tmp_path, 6, 6, interval=2)
    assert rows(tmp_path) == [(2, 1.5), (4, 3.5), (6, 5.5)]
    row = read_training_log(tmp_path)[0]
    assert row["learning_rate"] == 0.5
    assert row["images_per_second"] > 0 and row["seconds"] > 0


def test_last_step_has_a_row_and_ends_within_an_epoch(tmp_path):
    fit(tmp_path, 5, 4, interval=3)
    assert [step for step, _ in rows(tmp_path)] == [3, 5]


def test_evaluations_are_logged_by_step_without_the_metrics_of_others(tmp_path):
    fit(tmp_path, 4, 2, interval=1)
    assert read_evaluation_log(tmp_path) == {2: {"test_score": 10.0}, 4: {"test_score": 11.0}}


def test_resumed_run_leaves_the_rows_of_an_uninterrupted_one(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit(whole, 8, 4, interval=2)
    fit(parts, 6, 2, interval=2)  # went on after its last checkpoint, at step 4
    with (parts / TRAINING_LOG).open("a", encoding="utf-8") as file:
        file.write("8,1.0")  # a row half written
    seconds = read_training_log(parts)[1]["seconds"]
    fit(parts, 8, 4, interval=2, start_step=4, start_epoch=1)
    assert rows(parts) == rows(whole)
    assert read_training_log(parts)[2]["seconds"] > seconds
    assert read_evaluation_log(parts)[8] == {"test_score": 11.0}
    assert len((parts / EVALUATION_LOG).read_text(encoding="utf-8").splitlines()) == 4


def test_loss_that_is_no_number_stops_before_the_end_of_the_epoch(tmp_path):
    class Broken(keras.callbacks.Callback):
        ended = False

        def on_train_batch_begin(self, batch, logs=None):
            if batch == 1:
                self.model.weight.assign(math.nan)

        def on_epoch_end(self, epoch, logs=None):
            Broken.ended = True

    with pytest.raises(InvalidInputError, match="the loss is nan at step 2"):
        fit(tmp_path, 4, 4, interval=1, extra=[Broken(), StopOnNaN()])
    assert not Broken.ended


def test_progress_line_names_step_speed_and_time_to_go(tmp_path, capsys):
    progress = ProgressLine(1200, batch_size=10, start_step=1000, every_seconds=0)
    fit(tmp_path, 1004, 4, interval=2, start_step=1000, extra=[progress])
    lines = capsys.readouterr().out.splitlines()
    assert "step 1,002 of 1,200  loss 1001.500" in lines[2]
    for word in ("steps/s", "images/s", "to go"):
        assert word in lines[2]


@pytest.mark.parametrize(
    "seconds, text",
    [(45.4, "45 s"), (214, "3 min 34 s"), (59.6, "1 min 00 s"), (7500, "2 h 05 min")],
)
def test_duration_reads_as_a_person_says_it(seconds, text):
    assert duration(seconds) == text
