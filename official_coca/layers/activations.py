"""Activations that Keras does not have, or has slower."""

import math

import keras
from keras import ops

from official_coca.errors import InvalidInputError


@keras.saving.register_keras_serializable(package="official_coca")
def quick_gelu(x):
    """`x * sigmoid(1.702 x)`, the GELU of OpenAI's CLIP weights."""
    return x * ops.sigmoid(1.702 * x)


@keras.saving.register_keras_serializable(package="official_coca")
def gelu(x):
    """`x * Phi(x)` with the error function itself (Hendrycks and Gimpel 2016, arXiv 1606.08415).

    Keras takes the complementary error function, which TensorFlow computes number by number.
    """
    return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))


_OWN = {"gelu": gelu, "quick_gelu": quick_gelu}


def get_activation(name):
    """The function of a name: "gelu", "quick_gelu", or what `keras.activations` has ("relu", ...).

    Raises:
        InvalidInputError: neither knows the name.
    """
    if name in _OWN:
        return _OWN[name]
    try:
        return keras.activations.get(name)
    except ValueError:
        raise InvalidInputError(
            f"activation {name!r} is unknown; use 'gelu', 'quick_gelu' or another name of "
            "keras.activations"
        ) from None
