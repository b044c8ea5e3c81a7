"""Learning-rate schedules: a linear warm-up followed by a linear, a cosine or no decay.

All rise from 0 to `peak_learning_rate` over `warmup_steps` steps (the first update already has
a rate above 0), fall until `total_steps` and stay at `final_learning_rate` from there on.
"""

import math

import keras
from keras import ops

from official_coca.errors import InvalidInputError


class WarmupThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """The part that all schedules share; a subclass says how the rate falls.

    Args:
        peak_learning_rate: rate at the end of the warm-up.
        warmup_steps: number of steps of the linear rise, 0 for none.
        total_steps: step at which the decay ends.
        final_learning_rate: rate at `total_steps` and later.
    """

    def __init__(self, peak_learning_rate, warmup_steps, total_steps, final_learning_rate=0.0):
        super().__init__()
        if not 0 <= warmup_steps < total_steps:
            raise InvalidInputError(
                f"warmup_steps={warmup_steps} must be at least 0 and below the number of training "
                f"steps, {total_steps}"
            )
        self.peak_learning_rate = float(peak_learning_rate)
        self.warmup_steps = int(warmup_steps)
        self.total_steps = int(total_steps)
        self.final_learning_rate = float(final_learning_rate)

    def remaining_share(self, progress):
        """Share of the fall still ahead: 1 at `progress` 0, 0 at `progress` 1."""
        raise NotImplementedError

    def __call__(self, step):
        step = ops.cast(step, "float32")
        decay_steps = self.total_steps - self.warmup_steps
        progress = ops.clip((step - self.warmup_steps) / decay_steps, 0.0, 1.0)
        height = self.peak_learning_rate - self.final_learning_rate
        decayed = self.final_learning_rate + height * self.remaining_share(progress)
        if not self.warmup_steps:
            return decayed
        rising = self.peak_learning_rate * (step + 1.0) / self.warmup_steps
        return ops.where(step < self.warmup_steps, rising, decayed)

    def get_config(self):
        return {
            "peak_learning_rate": self.peak_learning_rate,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "final_learning_rate": self.final_learning_rate,
        }


@keras.saving.register_keras_serializable(package="official_coca")
class LinearWarmupLinearDecay(WarmupThenDecay):
    """Linear warm-up, then a straight line down (CoCa section 4.1, "Optimization")."""

    def remaining_share(self, progress):
        return 1.0 - progress


@keras.saving.register_keras_serializable(package="official_coca")
class LinearWarmupCosineDecay(WarmupThenDecay):
    """Linear warm-up, then half a cosine down (CoCa appendix, fine-tuning tables)."""

    def remaining_share(self, progress):
        return 0.5 * (1.0 + ops.cos(math.pi * progress))


@keras.saving.register_keras_serializable(package="official_coca")
class LinearWarmupConstant(WarmupThenDecay):
    """Linear warm-up, then the peak for ever; `final_learning_rate` plays no part."""

    def remaining_share(self, progress):
        return ops.ones_like(progress)
