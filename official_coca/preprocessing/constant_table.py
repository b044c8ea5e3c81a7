"""A lookup table of constants.

A search in sorted constants does the work of TensorFlow's lookup tables without a resource: there
is nothing to track in a SavedModel and nothing that `keras.utils.clear_session` drops.

Shapes: N keys of the table, any shape of what is looked up.
"""

import numpy as np
import tensorflow as tf


class ConstantTable:
    """Finds values by key.

    Args:
        keys: (N,) distinct integers or strings (bytes or str), in any order.
        values: (N,) integers or strings, what the keys stand for.
    """

    def __init__(self, keys, values):
        are_texts = isinstance(keys[0], (str, bytes))
        searched = _hashes(keys) if are_texts else np.array(keys, np.int64)
        order = np.argsort(searched)
        self._searched = constant(searched[order])
        self._keys = constant(_array(keys)[order]) if are_texts else self._searched
        self._values = constant(_array(values)[order])

    def __call__(self, keys):
        """Returns whether each key is in the table, and its value, or any value if it is not."""
        keys = tf.convert_to_tensor(keys)
        keys = keys if keys.dtype == tf.string else tf.cast(keys, tf.int64)
        wanted = _hash(keys) if keys.dtype == tf.string else keys
        index = tf.searchsorted(self._searched, tf.reshape(wanted, [-1]))
        index = tf.reshape(tf.minimum(index, tf.size(self._keys) - 1), tf.shape(keys))
        return tf.gather(self._keys, index) == keys, tf.gather(self._values, index)


def constant(values):
    """Returns a tensor that graphs take in as an input.

    As a node of the graph, a large constant would be copied and optimised with each data set.
    """
    with tf.init_scope(), tf.device("CPU:0"):
        return tf.constant(values)


def _array(values):
    return np.array(values, object if isinstance(values[0], (str, bytes)) else np.int32)


def _hash(texts):
    return tf.strings.to_hash_bucket_fast(texts, 2**63 - 1)


def _hashes(texts):
    with tf.init_scope():
        return _hash(_array(texts)).numpy()
