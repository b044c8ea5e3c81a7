"""Builds an optimizer from plain values."""

import re

import keras

from official_coca.errors import InvalidInputError
from official_coca.optimization.adafactor import Adafactor
from official_coca.optimization.adamw import AdamW
from official_coca.optimization.schedules import (
    LinearWarmupConstant,
    LinearWarmupCosineDecay,
    LinearWarmupLinearDecay,
)

_OPTIMIZERS = ("adamw", "adafactor", "sgd")
_SCHEDULES = {
    "constant": LinearWarmupConstant,
    "linear": LinearWarmupLinearDecay,
    "cosine": LinearWarmupCosineDecay,
}

# Paths of variables that weight decay leaves alone, whatever their shape: position tables, the
# temperature, biases and the scales of norms.
_NOT_DECAYED = re.compile(r"position|temperature|(bias|beta|gamma|scale)[^/]*$")


def build_learning_rate(
    schedule, peak_learning_rate, *, warmup_steps=0, total_steps, final_learning_rate=0.0
):
    """Returns the `LearningRateSchedule` named "constant", "linear" or "cosine".

    The constant rate is a schedule too: a rate kept in a variable of the optimizer would come
    back from a checkpoint and hide a changed configuration.
    """
    if schedule not in _SCHEDULES:
        raise InvalidInputError(
            f"unknown learning-rate schedule {schedule!r}; choose one of {', '.join(_SCHEDULES)}"
        )
    return _SCHEDULES[schedule](
        peak_learning_rate, warmup_steps, total_steps, final_learning_rate
    )


def build_optimizer(
    optimizer,
    learning_rate,
    *,
    beta_1=0.9,
    beta_2=0.999,
    weight_decay=0.0,
    not_decayed=(),
    global_clipnorm=None,
    ema_momentum=None,
):
    """Returns a Keras optimizer.

    Args:
        optimizer: "adamw", "adafactor" (the variant of `adafactor.py`) or "sgd".
        learning_rate: float or `LearningRateSchedule`.
        beta_1: decay of the first moment; the momentum of "sgd".
        beta_2: decay of the second moment; its cap for "adafactor"; "sgd" has none.
        weight_decay: decoupled decay, multiplied by the learning rate; 0 for none.
        not_decayed: variables without weight decay, see `variables_without_weight_decay`.
        global_clipnorm: limit of the norm of all gradients together, None for none.
        ema_momentum: keep an average of the weights with this momentum, None for none.
    """
    arguments = {
        "learning_rate": learning_rate,
        "weight_decay": weight_decay or None,
        "global_clipnorm": global_clipnorm,
        "use_ema": ema_momentum is not None,
    }
    if ema_momentum is not None:
        arguments["ema_momentum"] = ema_momentum
    if optimizer == "adamw":
        arguments["weight_decay"] = weight_decay  # None is no value of AdamW's
        built = AdamW(beta_1=beta_1, beta_2=beta_2, **arguments)
    elif optimizer == "adafactor":
        built = Adafactor(beta_1=beta_1, beta_2_cap=beta_2, **arguments)
    elif optimizer == "sgd":
        built = keras.optimizers.SGD(momentum=beta_1, **arguments)
    else:
        raise InvalidInputError(
            f"unknown optimizer {optimizer!r}; choose one of {', '.join(_OPTIMIZERS)}"
        )
    if weight_decay and not_decayed:
        built.exclude_from_weight_decay(var_list=list(not_decayed))
    return built


def variables_without_weight_decay(variables):
    """The ones of `variables` to pass as `not_decayed`: vectors and scalars, and whatever is
    named as a bias, a norm's scale, a position table or the temperature."""
    return [
        variable
        for variable in variables
        if len(variable.shape) < 2 or _NOT_DECAYED.search(variable.path)
    ]
