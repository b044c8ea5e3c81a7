"""Draws the one text that an example is trained with, for a block of examples at once.

R rows (examples), T texts of a row, P templates. Every draw is a function of the seed alone.
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


def draw_label_sentences(label_names, templates, seed):
    """Puts the label names of each row, shuffled and joined by commas, into a drawn template.

    The procedure is the paper's (section 4.1), such as "a photo of the cat, animal".

    Args:
        label_names: (R,(T)) ragged strings, no row empty.
        templates: P strings with one `{}` each.
        seed: (2,) integer.

    Returns:
        (R,) strings.
    """
    order_seed, template_seed = tf.unstack(tf.random.split(seed, 2))
    rows = tf.cast(label_names.value_rowids(), tf.float64)
    keys = rows + tf.random.stateless_uniform(tf.shape(rows), order_seed, dtype=tf.float64)
    shuffled = label_names.with_values(tf.gather(label_names.values, tf.argsort(keys)))
    joined = tf.strings.reduce_join(shuffled, axis=-1, separator=", ")
    before, after = zip(*(template.split("{}") for template in templates))
    choice = tf.random.stateless_uniform(
        tf.shape(joined), template_seed, maxval=len(templates), dtype=tf.int32
    )
    return tf.strings.join(
        [tf.gather(tf.constant(before), choice), joined, tf.gather(tf.constant(after), choice)]
    )
