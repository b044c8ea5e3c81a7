"""A lookup table that is part of the graph.

A search in sorted constants does the work of TensorFlow's lookup tables without a resource: there
is nothing to track in a SavedModel and nothing that `keras.utils.clear_session` drops.

Shapes: N keys of the table, any shape of what is looked up.
"""

import numpy as np
import tensorflow as tf

_HASH_BUCKETS = 2**63 - 1


class ConstantTable:
    """Finds values by key.

    Args:
        keys: (N,) distinct integers or strings (bytes or str), in any order.
        values: (N,) array of what they stand for, or a list of strings.
    """

    def __init__(self, keys, values):
        self._has_text_keys = isinstance(keys[0], (str, bytes))
        self._keys = np.array(keys, object if self._has_text_keys else np.int64)
        searched = self._keys
        if self._has_text_keys:
            with tf.init_scope():
                searched = tf.strings.to_hash_bucket_fast(self._keys, _HASH_BUCKETS).numpy()
        order = np.argsort(searched)
        self._searched = searched[order]
        self._keys = self._keys[order]
        is_text = isinstance(values[0], (str, bytes))
        self._values = np.array(values, object if is_text else None)[order]

    def __call__(self, keys):
        """Returns whether each key is in the table, and its value, or any value if it is not."""
        if self._has_text_keys:
            wanted = tf.strings.to_hash_bucket_fast(keys, _HASH_BUCKETS)
        else:
            wanted = keys = tf.cast(keys, tf.int64)
        flat = tf.reshape(wanted, [-1])
        index = tf.searchsorted(self._searched, flat)
        index = tf.reshape(tf.minimum(index, len(self._keys) - 1), tf.shape(wanted))
        return tf.gather(self._keys, index) == keys, tf.gather(self._values, index)
