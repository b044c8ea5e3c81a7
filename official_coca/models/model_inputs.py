"""What users pass to a model, checked and made into tensors.

Shapes: B images or texts, H x W pixels of the model, h x w pixels of a raw image, L tokens.
"""

import keras
import numpy as np
from keras import ops

from official_coca.errors import InvalidInputError

_IMAGE_FORMS = (
    "pass floats (B, H, W, 3) that are preprocessed, uint8 pixels (B, h, w, 3), or encoded bytes"
)


def as_images(preprocessor, images):
    """Preprocessed float images from what the user passed.

    Args:
        preprocessor: an `ImageTextPreprocessor`, or None.
        images: float (B, H, W, 3), returned as they are; or, through the preprocessor, uint8
            (B, h, w, 3), encoded images (B,), or a list of either.

    Returns:
        (B, H, W, 3) float tensor.

    Raises:
        InvalidInputError: wrong rank or dtype, no preprocessor for raw images, or an image that
            cannot be decoded.
    """
    images = _list_as_array(images)
    dtype = _dtype_name(images)
    rank = len(images.shape)
    if dtype == "string":
        _need_preprocessor(preprocessor, "encoded images")
        return preprocessor.image_converter.decode(images)
    if dtype != "uint8" and "float" not in dtype:
        raise InvalidInputError(f"images have dtype {dtype}; {_IMAGE_FORMS}")
    if rank != 4 or images.shape[-1] != 3:
        hint = "add a batch axis: images[None]" if rank == 3 else _IMAGE_FORMS
        raise InvalidInputError(
            f"images have shape {tuple(images.shape)}, expected (B, H, W, 3); {hint}"
        )
    if dtype == "uint8":
        _need_preprocessor(preprocessor, "uint8 images")
        return preprocessor.image_converter(images)
    return ops.convert_to_tensor(images, keras.config.floatx() if dtype == "float64" else dtype)


def as_token_ids(preprocessor, texts, max_length):
    """Token ids (B, L) from token ids or strings.

    Raises:
        InvalidInputError: an empty caption, strings without a preprocessor, ids of wrong rank or
            dtype, or more tokens than the model has positions for.
    """
    if isinstance(texts, (str, bytes)):
        raise InvalidInputError(
            "texts is one string; pass a list of strings, even for a single caption"
        )
    texts = _list_as_array(texts)
    dtype = _dtype_name(texts)
    if dtype == "string":
        _need_preprocessor(preprocessor, "strings")
        return preprocessor.token_ids(texts)
    if "int" not in dtype or len(texts.shape) != 2:
        raise InvalidInputError(
            f"token ids have dtype {dtype} and shape {tuple(texts.shape)}; pass ints (B, L), or "
            "strings with a preprocessor attached"
        )
    if texts.shape[1] is not None and texts.shape[1] > max_length:
        raise InvalidInputError(
            f"captions of {texts.shape[1]} tokens are longer than max_length={max_length}; cut "
            "them, or build the model with a larger max_length"
        )
    return ops.convert_to_tensor(texts, "int32")


def _list_as_array(values):
    if not isinstance(values, (list, tuple)):
        return values
    if not values:
        raise InvalidInputError("got an empty list; pass at least one image or text")
    if isinstance(values[0], (str, bytes)):
        return np.array(values, dtype=object)
    try:
        return np.stack([np.asarray(value) for value in values])
    except ValueError:
        shapes = sorted({np.shape(value) for value in values})
        raise InvalidInputError(
            f"the list holds arrays of different shapes {shapes[:3]}; pass one at a time, or "
            "encoded bytes, which may differ in size"
        ) from None


def _dtype_name(values):
    dtype = values.dtype
    if getattr(dtype, "kind", None) in ("O", "S", "U"):
        return "string"
    return keras.backend.standardize_dtype(dtype)


def _need_preprocessor(preprocessor, what):
    if preprocessor is None:
        raise InvalidInputError(
            f"got {what} but the model has no preprocessor; load a preset that has one, or set "
            "model.preprocessor to an ImageTextPreprocessor"
        )
