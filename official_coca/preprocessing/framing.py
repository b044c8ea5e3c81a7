"""Where a picture lies in the model's frame: sizes, the centre cut out, padding around it.

Shapes: h x w pixels as stored, H x W pixels of the frame; sizes are (2,) int32, height and width.
"""

import numpy as np
import tensorflow as tf

# Times the frame's length along its longer side that a picture which covers it may have.
_LONGEST_COVER = 16


def without_far_ends(images, frame_size):
    """Returns the middle of images (..., h, w, 3) so long that a frame they cover shows little.

    A line of a million pixels fits into some hundred bytes of PNG, and would be resized to as many
    times the pixels of the frame. Others stay as they are. The middle stays where it is, so that
    what the frame shows moves by a fraction of its pixels at most.
    """
    stored_size = tf.shape(images, tf.int64)[-3:-1]  # products of 32 bits would overflow
    # h W / H and w H / W, rounded up: the pixels of a side of which the frame shows one length.
    shown = -(-stored_size[::-1] * frame_size // frame_size[::-1])
    longest = shown * _LONGEST_COVER
    longest += (stored_size - longest) % 2
    kept = tf.minimum(stored_size, longest)
    return cut(images, (stored_size - kept) // 2, kept)


def covering_size(stored_size, frame_size):
    """Returns the size that just covers the frame, its longer side rounded down (torchvision)."""
    height, width = tf.unstack(stored_size)
    height_binds = height * frame_size[1] <= width * frame_size[0]
    return tf.where(
        height_binds,
        tf.stack([frame_size[0], width * frame_size[0] // height]),
        tf.stack([height * frame_size[1] // width, frame_size[1]]),
    )


def nearest_size(stored_size, frame_size, covers):
    """Returns the size that covers the frame, or fits into it, rounded to the nearest pixel.

    The arithmetic of open_clip's `ResizeKeepRatio`, in double precision and with halves to even.
    A side that would vanish keeps one pixel; open_clip fails there.
    """
    sides = tf.cast(stored_size, tf.float64)
    ratios = sides / np.array(frame_size, np.float64)
    ratio = tf.reduce_min(ratios) if covers else tf.reduce_max(ratios)
    return tf.maximum(tf.cast(tf.round(sides / ratio), tf.int32), 1)


def centre_offset(size, frame_size):
    """Returns row and column where a frame in the centre begins, halves to even (torchvision)."""
    return tf.cast(tf.round((size - frame_size) / 2), tf.int32)


def cut(images, offset, frame_size):
    """Returns the frame (..., H, W, 3) of images (..., h, w, 3)."""
    (top, left), (height, width) = tf.unstack(offset), tf.unstack(frame_size)
    return images[..., top : top + height, left : left + width, :]


def pad(images, frame_size, fill_color):
    """Returns images (..., h, w, 3) in the centre of a frame (..., H, W, 3) of one colour."""
    missing = frame_size - tf.shape(images)[-3:-1]
    before = missing // 2
    sides = tf.stack([before, missing - before], axis=1)
    sides = tf.pad(sides, [[images.shape.rank - 3, 1], [0, 0]])
    return tf.pad(images - fill_color, sides) + fill_color
