"""When a training ends: at its last step, or because it went wrong."""

import math

import keras

from official_coca.errors import InvalidInputError


class _StepCounter(keras.callbacks.Callback):
    """Counts finished steps, also when a run goes on from a step or runs several in one call."""

    def __init__(self, start_step=0):
        super().__init__()
        self.step = start_step

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_step = self.step

    def on_train_batch_end(self, batch, logs=None):
        self.step = self._epoch_step + batch + 1


class StopAtStep(_StepCounter):
    """Ends the training at a step, also within an epoch.

    Args:
        last_step: the step after which to stop.
        start_step: step that this run goes on from.
    """

    def __init__(self, last_step, start_step=0):
        super().__init__(start_step)
        self._last_step = last_step

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.step >= self._last_step:
            self.model.stop_training = True


class StopOnNaN(_StepCounter):
    """Stops with a message when the loss is no number, before a checkpoint holds the damage.

    `keras.callbacks.TerminateOnNaN` ends the epoch in good order, so that such a checkpoint would
    be written.
    """

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise InvalidInputError(
                f"the loss is {loss} at step {self.step:,}: lower the learning rate or set "
                "trainer.optimizer_config.optimizer.global_clipnorm, and start again; the last "
                "checkpoint is whole"
            )
