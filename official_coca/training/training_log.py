"""The numbers of a training, as CSV files and for TensorBoard.

`training_log.csv`: a row every `interval` steps; metrics are means over the steps since the last
row or checkpoint. `evaluation_log.csv`: a row (step, metric, value) for each metric, because
evaluations differ in what they measure. The same numbers go to `train/` and `validation/`, which
TensorBoard reads.

A resumed run first drops the rows past the step that it goes on from, so that the files are those
of one uninterrupted run, but for the times.
"""

import csv
import os
import pathlib
import time

import keras
import numpy as np
import tensorflow as tf

TRAINING_LOG = "training_log.csv"
EVALUATION_LOG = "evaluation_log.csv"


class TrainingLog(keras.callbacks.Callback):
    """Writes both files. Put it after the callbacks that evaluate.

    Args:
        directory: where the files go.
        batch_size: examples of a step.
        interval: steps between two rows.
        start_step: step that this run goes on from.
        evaluation_names: beginnings of the metrics, in the logs of an epoch, that evaluations made.

    Attributes:
        step: number of finished steps.
        seconds: time spent in training, that of earlier runs included.
    """

    def __init__(self, directory, batch_size, interval, start_step=0, evaluation_names=()):
        super().__init__()
        self._directory = pathlib.Path(directory)
        self._batch_size = batch_size
        self._interval = interval
        self._prefixes = tuple(f"{name}_" for name in evaluation_names)
        self.step = start_step
        self.seconds = 0.0

    def on_train_begin(self, logs=None):
        self._directory.mkdir(parents=True, exist_ok=True)
        rows = _keep_rows_until(self._directory / TRAINING_LOG, self.step)
        _keep_rows_until(self._directory / EVALUATION_LOG, self.step)
        self._seconds_before = float(rows[-1]["seconds"]) if rows else 0.0
        self._started = self._row_time = time.monotonic()
        self._row_step = self.step
        self._writers = {
            name: tf.summary.create_file_writer(str(self._directory / name))
            for name in ("train", "validation")
        }

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_step = self.step

    def on_train_batch_begin(self, batch, logs=None):
        # Not right after the row: the logs of an epoch that ends there would be empty.
        if self.step == self._row_step and self.step > 0:
            self.model.reset_metrics()

    def on_train_batch_end(self, batch, logs=None):
        self.step = self._epoch_step + batch + 1
        self.seconds = self._seconds_before + time.monotonic() - self._started
        self._logs = dict(logs or {})
        if self.step % self._interval == 0:
            self._write_row()

    def on_epoch_end(self, epoch, logs=None):
        metrics = {
            name: float(value)
            for name, value in (logs or {}).items()
            # An evaluation called "captioning" must not lay claim to captioning_loss.
            if name.startswith(self._prefixes) and name not in self._logs and np.isfinite(value)
        }
        if metrics:
            append_evaluation(self._directory, self.step, metrics)
            self._write_summaries("validation", metrics)

    def on_train_end(self, logs=None):
        if self.step != self._row_step:
            self._write_row()
        for writer in self._writers.values():
            writer.close()

    def _write_row(self):
        now = time.monotonic()
        steps_per_second = (self.step - self._row_step) / max(now - self._row_time, 1e-9)
        self._row_time, self._row_step = now, self.step
        metrics = {
            "learning_rate": float(self.model.optimizer.learning_rate),
            **{name: float(value) for name, value in self._logs.items()},
        }
        row = {
            "step": self.step,
            "seconds": f"{self.seconds:.3f}",
            "images_per_second": f"{steps_per_second * self._batch_size:.1f}",
            **{name: repr(value) for name, value in metrics.items()},
        }
        _append(self._directory / TRAINING_LOG, [row])
        self._write_summaries("train", {**metrics, "steps_per_second": steps_per_second})

    def _write_summaries(self, name, metrics):
        with self._writers[name].as_default(step=self.step):
            for metric, value in metrics.items():
                tf.summary.scalar(metric, value)
        self._writers[name].flush()


def read_training_log(directory):
    """The rows of `training_log.csv`: dicts of floats."""
    path = pathlib.Path(directory) / TRAINING_LOG
    return [{name: float(value) for name, value in row.items()} for row in _read(path)]


def read_evaluation_log(directory):
    """The rows of `evaluation_log.csv` by step: {step: {metric: value}}."""
    steps = {}
    for row in _read(pathlib.Path(directory) / EVALUATION_LOG):
        steps.setdefault(int(row["step"]), {})[row["metric"]] = float(row["value"])
    return steps


def append_evaluation(directory, step, metrics):
    """Adds the {metric: value} of one step to `evaluation_log.csv`."""
    rows = [{"step": step, "metric": name, "value": repr(v)} for name, v in metrics.items()]
    _append(pathlib.Path(directory) / EVALUATION_LOG, rows)


def _append(path, rows):
    names = list(rows[0])
    is_new = not path.exists()
    if not is_new:
        with path.open(newline="", encoding="utf-8") as file:
            names = next(csv.reader(file))
    with path.open("a", newline="", encoding="utf-8") as file:
        # A run that goes on with other sources in its config keeps the columns of its start.
        writer = csv.DictWriter(file, names, restval="nan", extrasaction="ignore")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def _read(path):
    """Whole rows only: a kill can leave the last one half written."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        text = file.read()
    lines = text[: text.rfind("\n") + 1].splitlines()
    return [row for row in csv.DictReader(lines) if None not in row.values() and None not in row]


def _keep_rows_until(path, step):
    rows = [row for row in _read(path) if int(row["step"]) <= step]
    if not rows:
        path.unlink(missing_ok=True)
        return []
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    _append(fresh, rows)
    os.replace(fresh, path)
    return rows
