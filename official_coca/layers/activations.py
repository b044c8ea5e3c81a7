"""Activations that Keras does not have."""

import keras
from keras import ops

from official_coca.errors import InvalidInputError


@keras.saving.register_keras_serializable(package="official_coca")
def quick_gelu(x):
    """`x * sigmoid(1.702 x)`, the GELU of OpenAI's CLIP weights."""
    return x * ops.sigmoid(1.702 * x)


def get_activation(name):
    """The function of a name: "quick_gelu", or what `keras.activations` has ("gelu", "relu", ...).

    Raises:
        InvalidInputError: neither knows the name.
    """
    if name == "quick_gelu":
        return quick_gelu
    try:
        return keras.activations.get(name)
    except ValueError:
        raise InvalidInputError(
            f"activation {name!r} is unknown; use 'gelu', 'quick_gelu' or another name of "
            "keras.activations"
        ) from None
