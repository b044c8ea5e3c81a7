"""Draws the one caption that an example is trained with, for a block of examples at once.

R rows (examples), T texts of a row. Every draw is a function of the seed alone.
"""

import tensorflow as tf


def draw_captions(captions, seed):
    """Draws one of the captions of each row.

    Args:
        captions: (R,(T)) ragged strings, no row empty.
        seed: (2,) integer.

    Returns:
        (R,) strings.
    """
    lengths = captions.row_lengths()
    draws = tf.random.stateless_uniform(tf.shape(lengths), seed, dtype=tf.float64)
    columns = tf.cast(draws * tf.cast(lengths, tf.float64), lengths.dtype)
    return tf.gather(captions.values, captions.row_starts() + columns)
