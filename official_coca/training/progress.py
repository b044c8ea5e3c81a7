"""One line every few seconds: where a training is, how fast it goes, when it will be done."""

import time

import keras


class ProgressLine(keras.callbacks.Callback):
    """Prints lines such as

        step 1,200 of 4,000  loss 3.214  13.1 steps/s  840 images/s  3 min 34 s to go

    Args:
        train_steps: step at which the training ends.
        batch_size: examples of a step.
        start_step: step that this run goes on from.
        metrics: names of the metrics to show.
        every_seconds: time between two lines.
    """

    def __init__(self, train_steps, batch_size, start_step=0, metrics=("loss",), every_seconds=10):
        super().__init__()
        self._train_steps = train_steps
        self._batch_size = batch_size
        self._step = self._start_step = start_step
        self._metrics = metrics
        self._every_seconds = every_seconds

    def on_train_begin(self, logs=None):
        print("compiling the training step ...", flush=True)
        self._started = self._line_time = time.monotonic()
        self._line_step = None  # no speed before the first step, which compiles

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_step = self._step

    def on_train_batch_end(self, batch, logs=None):
        self._step = self._epoch_step + batch + 1
        now = time.monotonic()
        if self._line_step is None:
            print(f"the first step took {now - self._started:.1f} s", flush=True)
            self._first_time, self._first_step = now, self._step
            self._line_time, self._line_step = now, self._step
        elif now - self._line_time >= self._every_seconds or self._step == self._train_steps:
            self._print(now, logs or {})

    def _print(self, now, logs):
        speed = (self._step - self._line_step) / (now - self._line_time)
        # The rate since the first step counts pauses for checkpoints and evaluations too.
        whole_speed = (self._step - self._first_step) / (now - self._first_time)
        parts = [f"step {self._step:,} of {self._train_steps:,}"]
        parts += [f"{name} {float(logs[name]):.3f}" for name in self._metrics if name in logs]
        parts += [f"{speed:.1f} steps/s", f"{speed * self._batch_size:,.0f} images/s"]
        if self._step < self._train_steps:
            parts.append(f"{duration((self._train_steps - self._step) / whole_speed)} to go")
        print("  ".join(parts), flush=True)
        self._line_time, self._line_step = now, self._step


def duration(seconds):
    """Seconds as a person says them: "45 s", "3 min 34 s", "2 h 05 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
