"""The picture of a GIF that has one; an animation is told by the start of its second picture.

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
_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B  # first bytes of blocks
_AT_BLOCK, _IN_EXTENSION, _IN_IMAGE, _AT_END, _AT_SECOND_IMAGE = range(5)


def only_gif_frame(encoded, max_pixels):
    """Returns the file cut after its frame; anything but a GIF as it is.

    A GIF of several frames or of none, or whose frame declares more than `max_pixels`, becomes "";
    so does one of too many blocks to tell.

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

    def is_open(step, position, mode, *_):
        return (mode < _AT_END) & (position < length) & (step < _MOST_STEPS)

    def walk(step, position, mode, pixels, frame_end):
        window = byte_window(encoded, position, _BLOCK * _BLOCKS_AT_ONCE)
        block = _block(window)
        data = _sub_blocks(window, mode)
        at_block = mode == _AT_BLOCK
        advance, new_mode = (tf.where(at_block, *pair) for pair in zip(block, data))
        is_image = at_block & (new_mode == _IN_IMAGE)
        new_mode = tf.where(is_image & (frame_end > 0), _AT_SECOND_IMAGE, new_mode)
        size = little_endian(window, 5, 2) * little_endian(window, 7, 2)
        position += advance
        is_end = (mode == _IN_IMAGE) & (new_mode == _AT_BLOCK)
        frame_end = tf.where(is_end, position, frame_end)
        return step + 1, position, new_mode, tf.where(is_image, size, pixels), frame_end

    nothing = tf.constant(0, tf.int64)
    start = (0, position, tf.constant(_AT_BLOCK), nothing, nothing)
    step, position, mode, pixels, frame_end = tf.while_loop(is_open, walk, start)
    # A frame that is cut off is left to the decoder to judge.
    frame_end = tf.where((mode == _IN_IMAGE) & (position >= length), length, frame_end)
    is_single = (mode != _AT_SECOND_IMAGE) & (step < _MOST_STEPS)
    is_served = (frame_end > 0) & is_single & (pixels <= max_pixels)
    frame = tf.strings.substr(encoded, 0, tf.cast(tf.minimum(frame_end, length), tf.int32)) + ";"
    return tf.where(is_served, frame, "")


def _palette_size(flags):
    return tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), tf.constant(0, tf.int64))


def _block(window):
    """How many bytes to go on from the start of a block, and what comes then.

    Bytes between blocks that start none are skipped, as Pillow does.
    """
    is_extension, is_image, is_end = (window[0] == code for code in (_EXTENSION, _IMAGE, _END))
    image_data = 11 + _palette_size(window[9])  # descriptor, palette, code size
    mode = tf.where(is_end, _AT_END, _AT_BLOCK)
    mode = tf.where(is_extension, _IN_EXTENSION, tf.where(is_image, _IN_IMAGE, mode))
    advance = tf.where(is_extension, tf.constant(2, tf.int64), _stray_bytes(window))
    return tf.where(is_image, image_data, advance), mode


def _stray_bytes(window):
    """How many bytes there are before the next that could start a block."""
    starts = (window == _EXTENSION) | (window == _IMAGE) | (window == _END)
    behind = tf.ones((1,), tf.bool)
    return tf.argmax(tf.concat([starts, behind], axis=0))


def _sub_blocks(window, mode):
    """The same from a sub-block on: many at once where they are full, as they mostly are."""
    lengths = window[::_BLOCK]
    is_full = tf.cast(lengths == _BLOCK - 1, tf.int64)
    num_full = tf.reduce_sum(tf.math.cumprod(is_full))
    ends = lengths[0] == 0
    advance = tf.where(num_full > 0, num_full * _BLOCK, lengths[0] + 1)
    return advance, tf.where(ends, _AT_BLOCK, mode)
