"""Whether a PNG is animated, which its chunks say before the pixels.

A decoder that does not know of animation, as TensorFlow's, shows the first frame or one that
is no part of the animation.

Source of the layout: PNG specification, third edition, 5.3 (chunks) and 11.3.6.1 (acTL).

Shapes: B files.
"""

import tensorflow as tf

from official_coca.preprocessing.image_headers import (
    PNG_SIGNATURE,
    big_endian,
    byte_window,
    starts_with,
)

_FRAME = 12  # bytes of a chunk besides its content: length, type, check sum
_WINDOW = 12  # length, type, number of frames
# Files have some ten chunks before their pixels, texts and profiles included.
_MOST_CHUNKS = 500


def is_animated_png(encoded):
    """Returns whether each file (B,) declares an animation of more than one frame, (B,) bool.

    A file that is not at its pixels after hundreds of chunks counts as one.
    """
    lengths = tf.cast(tf.strings.length(encoded), tf.int64)
    is_png = starts_with(byte_window(encoded, 0, len(PNG_SIGNATURE)), PNG_SIGNATURE)

    def is_open(step, _, walking, __):
        return tf.reduce_any(walking) & (step < _MOST_CHUNKS)

    def walk(step, position, walking, animated):
        window = byte_window(encoded, position, _WINDOW)
        is_control = starts_with(window, b"acTL", 4)
        animated |= walking & is_control & (big_endian(window, 8, 4) > 1)
        position = tf.minimum(position + big_endian(window, 0, 4) + _FRAME, lengths)
        walking &= ~is_control & ~starts_with(window, b"IDAT", 4) & (position < lengths)
        return step + 1, position, walking, animated

    first_chunk = tf.fill(tf.shape(lengths), tf.constant(len(PNG_SIGNATURE), tf.int64))
    start = (0, first_chunk, is_png, tf.zeros_like(is_png))
    _, _, walking, animated = tf.while_loop(is_open, walk, start)
    return animated | walking
