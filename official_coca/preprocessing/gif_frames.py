"""The first picture of an animated GIF, without reading the others.

TensorFlow's decoder unpacks every frame of the file to return the first. A file of some kilobytes
can hold thousands of frames, each of any size.

Source of the layout: GIF89a specification, sections 15 to 27.
"""

import tensorflow as tf

from official_coca.preprocessing.image_headers import byte_window, little_endian, starts_with

_SCREEN_END = 13
_BLOCK = 256  # bytes of a full sub-block with its length
_BLOCKS_AT_ONCE = 64
_MOST_STEPS = 10_000
_AT_BLOCK, _IN_EXTENSION, _IN_IMAGE, _ENDED, _BROKEN = range(5)


def first_gif_frame(encoded, max_pixels):
    """Returns the file cut after its first frame; anything but a GIF as it is.

    A GIF whose first frame declares more than `max_pixels`, or that has no frame, becomes "".

    Args:
        encoded: scalar string.
        max_pixels: int.
    """
    is_gif = starts_with(byte_window(encoded, 0, 4), b"GIF8")
    return tf.cond(is_gif, lambda: _cut(encoded, max_pixels), lambda: encoded)


def _cut(encoded, max_pixels):
    length = tf.cast(tf.strings.length(encoded), tf.int64)
    screen = byte_window(encoded, 0, _SCREEN_END)
    position = _SCREEN_END + _palette_size(screen[10])

    def is_open(step, position, mode, _):
        return (mode < _ENDED) & (position < length) & (step < _MOST_STEPS)

    def walk(step, position, mode, pixels):
        window = byte_window(encoded, position, _BLOCK * _BLOCKS_AT_ONCE)
        block = _block(window)
        data = _sub_blocks(window, mode)
        at_block = mode == _AT_BLOCK
        advance, new_mode = (tf.where(at_block, *pair) for pair in zip(block, data))
        is_image = at_block & (new_mode == _IN_IMAGE)
        size = little_endian(window, 5, 2) * little_endian(window, 7, 2)
        return step + 1, position + advance, new_mode, tf.where(is_image, size, pixels)

    start = (0, position, tf.constant(_AT_BLOCK), tf.constant(0, tf.int64))
    _, position, mode, pixels = tf.while_loop(is_open, walk, start)
    # A first frame that is cut off is left to the decoder to judge.
    has_frame = (mode == _ENDED) | ((mode == _IN_IMAGE) & (position >= length))
    frame = tf.strings.substr(encoded, 0, tf.cast(tf.minimum(position, length), tf.int32)) + ";"
    return tf.where(has_frame & (pixels <= max_pixels), frame, "")


def _palette_size(flags):
    return tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), tf.constant(0, tf.int64))


def _block(window):
    """How many bytes to go on from the start of a block, and what comes then."""
    is_extension, is_image = window[0] == 0x21, window[0] == 0x2C
    image_data = 11 + _palette_size(window[9])  # descriptor, palette, code size
    mode = tf.where(is_extension, _IN_EXTENSION, tf.where(is_image, _IN_IMAGE, _BROKEN))
    return tf.where(is_image, image_data, tf.constant(2, tf.int64)), mode


def _sub_blocks(window, mode):
    """The same from a sub-block on: many at once where they are full, as they mostly are."""
    lengths = window[::_BLOCK]
    is_full = tf.cast(lengths == _BLOCK - 1, tf.int64)
    num_full = tf.reduce_sum(tf.math.cumprod(is_full))
    ends = lengths[0] == 0
    after = tf.where(mode == _IN_IMAGE, _ENDED, _AT_BLOCK)
    advance = tf.where(num_full > 0, num_full * _BLOCK, lengths[0] + 1)
    return advance, tf.where(ends, after, mode)
