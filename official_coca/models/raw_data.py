"""Turns raw images and strings into the batches that an image-text model trains on.

Keras users pass raw data to `fit` and expect the model's preprocessor to take it from there. Raw
data are `(images, texts)` or `{"images", "texts"}`; images are encoded bytes or arrays of pixels,
texts are strings.
"""

from official_coca.errors import InvalidInputError

# Keras' own default batch size, for arrays that come without one.
_DEFAULT_BATCH_SIZE = 32


def prepare(preprocessor, x, y, batch_size, shuffle=False):
    """Maps raw data through the preprocessor and leaves everything else as it is.

    Args:
        preprocessor: an `ImageTextPreprocessor`, or None.
        x: what the user passed to `fit`, `evaluate` or `predict`.
        y: likewise.
        batch_size: likewise; None for datasets.
        shuffle: whether raw arrays are shuffled anew each epoch.

    Returns:
        `(x, y, batch_size)` for Keras.

    Raises:
        InvalidInputError: raw data without a preprocessor, or a dataset that is not batched.
    """
    import tensorflow as tf

    if isinstance(x, tf.data.Dataset):
        if not _is_raw(x.element_spec):
            return x, y, batch_size
        _check(preprocessor, x.element_spec)
        return x.map(preprocessor, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2), None, None
    examples = x if y is None else (x, y)
    if not _is_raw(examples):
        return x, y, batch_size
    slices = tf.data.Dataset.from_tensor_slices(
        tf.nest.map_structure(tf.convert_to_tensor, _lists_to_arrays(examples))
    )
    if shuffle:
        slices = slices.shuffle(int(slices.cardinality()))
    batches = slices.batch(batch_size or _DEFAULT_BATCH_SIZE)
    return prepare(preprocessor, batches, None, None)


def prepare_validation(preprocessor, validation_data, batch_size):
    """The same for `validation_data`, a dataset or a tuple."""
    import tensorflow as tf

    if isinstance(validation_data, tf.data.Dataset):
        return prepare(preprocessor, validation_data, None, None)[0]
    if isinstance(validation_data, (tuple, list)) and len(validation_data) == 2:
        x, y, _ = prepare(preprocessor, *validation_data, batch_size)
        return x if y is None else (x, y)
    return validation_data


def _lists_to_arrays(examples):
    """Lists of strings or of images become arrays, so that they count as one leaf."""
    import numpy as np

    if isinstance(examples, dict):
        return {key: _lists_to_arrays(value) for key, value in examples.items()}
    if isinstance(examples, tuple):
        return tuple(_lists_to_arrays(value) for value in examples)
    if isinstance(examples, list):
        is_text = isinstance(examples[0], (str, bytes))
        return np.array(examples, dtype=object if is_text else None)
    return examples


def _is_raw(examples):
    """Whether any leaf holds strings: preprocessed batches hold numbers only."""
    import tensorflow as tf

    if isinstance(examples, (dict, tuple)):
        values = examples.values() if isinstance(examples, dict) else examples
        return any(_is_raw(value) for value in values)
    if isinstance(examples, list):
        return bool(examples) and isinstance(examples[0], (str, bytes))
    dtype = getattr(examples, "dtype", None)
    if isinstance(dtype, tf.DType):
        return dtype == tf.string
    return dtype is not None and dtype.kind in "OSU"


def _check(preprocessor, element_spec):
    import tensorflow as tf

    if preprocessor is None:
        raise InvalidInputError(
            "the data hold strings but the model has no preprocessor; set model.preprocessor, or "
            "map the dataset through an ImageTextPreprocessor first"
        )
    if any(spec.shape.rank == 0 for spec in tf.nest.flatten(element_spec)):
        raise InvalidInputError(
            "the dataset of raw images and strings is not batched; call .batch(n) on it"
        )
