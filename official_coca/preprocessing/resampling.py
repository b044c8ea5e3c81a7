"""Pillow's resampling as a graph: the same 8-bit pixels, cut to a frame before they are computed.

Facts of the algorithm are from Pillow 13's `src/libImaging/Resample.c`: weights in double
precision, kept with 22 bits after the point; a pass along rows and one along columns, and each
rounds to 8 bits. TensorFlow's own `tf.image.resize` rounds nowhere and is up to 10 levels away.

Shapes: B images, h x w pixels as stored, H x W pixels of the frame; n rows of an axis, G groups of
16 neighbouring outputs, K the inputs a group reads, m everything that is not on the axis.
"""

import functools
import typing

import tensorflow as tf

from official_coca.preprocessing import framing

INTERPOLATIONS = ("bilinear", "bicubic")

# How far the unstretched kernel reaches, in pixels.
_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}
# Bits after the point of a weight: PRECISION_BITS = 32 - 8 - 2 in Pillow.
_WEIGHT_BITS = 22
# float32 holds integers up to 24 bits, and a weighted sum has 31. So weights are split, and both
# sums are exact in any order: 15 bits high (255 * 1.3 * 2^15 < 2^24) and 7 bits low, for up to
# 1,000 inputs an output (64 * 255 * 1,000 < 2^24): 257 times smaller by bicubic.
_LOW_BITS = 7
_HIGH_UNIT = 2.0 ** (_LOW_BITS - _WEIGHT_BITS)
_GROUP_SIZE = 16


class _Bands(typing.NamedTuple):
    """The weights of one axis, for outputs in groups whose inputs lie side by side."""

    first: tf.Tensor  # the first input that any output needs
    end: tf.Tensor  # the input behind the last one
    inputs: tf.Tensor  # (G, K) int32, what each group reads, counted from `first`
    weights: tf.Tensor  # (G, 32, K) float32: 16 rows in multiples of 2^-15, and what they leave
    count: tf.Tensor  # how many outputs there are; the last group may hold more


def resize_and_cut(images, resized_size, offset, frame_size, interpolation):
    """Returns the frame (B, H, W, 3) or (H, W, 3) uint8 that Pillow cuts out of resized images.

    Equals `image.resize(resized_size).crop(frame)` of Pillow, but computes only the frame.

    Args:
        images: (B, h, w, 3) or (h, w, 3) uint8.
        resized_size: (2,) int32, height and width of the whole resized image.
        offset: (2,) int32, row and column of the resized image where the frame begins.
        frame_size: (2,) int32, (H, W); the frame lies within the resized image.
        interpolation: one of `INTERPOLATIONS`, with antialiasing.
    """
    batch = images if images.shape.rank == 4 else images[None]
    sizes = [tf.convert_to_tensor(pair, tf.int32) for pair in (resized_size, offset, frame_size)]
    # Resizing to the size a picture has changes nothing and costs more than decoding it.
    frames = tf.cond(
        tf.reduce_all(tf.shape(batch)[1:3] == sizes[0]),
        lambda: framing.cut(batch, *sizes[1:]),
        lambda: _COMPILED[interpolation](batch, *sizes),
    )
    return frames if images.shape.rank == 4 else frames[0]


def _resampled_frame(images, resized_size, offset, frame_size, interpolation):
    stored_size = tf.shape(images)[1:3]
    rows = _bands(stored_size[0], resized_size[0], offset[0], frame_size[0], interpolation)
    columns = _bands(stored_size[1], resized_size[1], offset[1], frame_size[1], interpolation)
    images = images[:, rows.first : rows.end, columns.first : columns.end]
    # Pillow 13 begins with the rows where that saves it work; older ones never do.
    shrinks = stored_size - resized_size
    rows_first = (shrinks[0] > 0) & (shrinks[0] > 2 * shrinks[1])
    pixels = tf.cond(
        rows_first,
        lambda: _rows_then_columns(images, rows, columns),
        lambda: _columns_then_rows(images, rows, columns),
    )
    batch, height, width = tf.shape(images)[0], frame_size[0], frame_size[1]
    pixels = tf.transpose(tf.reshape(pixels, (height * width * 3, batch)))
    return tf.reshape(pixels, (batch, height, width, 3))


# Both orders give (H, W * 3 * B). Every transposition is one of a matrix: TensorFlow is slow with
# the others.
def _columns_then_rows(images, rows, columns):
    batch, height, width, _ = tf.unstack(tf.shape(images))
    pixels = tf.transpose(tf.reshape(images, (batch * height, width * 3)))
    pixels = _weighted(tf.reshape(pixels, (width, 3 * batch * height)), columns)
    pixels = tf.transpose(tf.reshape(pixels, (columns.count * 3 * batch, height)))
    return _weighted(pixels, rows)


def _rows_then_columns(images, rows, columns):
    batch, height, width, _ = tf.unstack(tf.shape(images))
    pixels = tf.transpose(tf.reshape(images, (batch, height * width * 3)))
    pixels = _weighted(tf.reshape(pixels, (height, width * 3 * batch)), rows)
    pixels = tf.reshape(tf.transpose(pixels), (width, 3 * batch * rows.count))
    pixels = _weighted(pixels, columns)
    return tf.transpose(tf.reshape(pixels, (columns.count * 3 * batch, rows.count)))


def _weighted(pixels, bands):
    """Returns the outputs (count, m) uint8 of pixels (n, m) uint8."""
    taken = tf.cast(tf.gather(pixels, bands.inputs), tf.float32)
    # tf.matmul would go to oneDNN, which compiles a kernel for every new size of a picture.
    sums = tf.raw_ops.Einsum(inputs=[bands.weights, taken], equation="gok,gkm->gom")
    high, low = tf.split(sums, 2, axis=1)
    # Pillow adds a half and drops the bits after the point; so does the cast, above zero.
    levels = high + (tf.floor(low) * _HIGH_UNIT + 0.5)
    levels = tf.cast(tf.minimum(tf.nn.relu(levels), 255.0), tf.uint8)
    num_outputs = tf.shape(bands.inputs)[0] * _GROUP_SIZE
    return tf.reshape(levels, (num_outputs, tf.shape(pixels)[1]))[: bands.count]


def _bands(length, resized_length, start, count, interpolation):
    """Returns the `_Bands` of outputs `start` to `start + count` of a resized axis."""
    scale = tf.cast(length, tf.float64) / tf.cast(resized_length, tf.float64)
    stretch = tf.maximum(scale, 1.0)
    support = _SUPPORT[interpolation] * stretch
    num_groups = (count + _GROUP_SIZE - 1) // _GROUP_SIZE
    places = start + tf.minimum(tf.range(num_groups * _GROUP_SIZE), count - 1)
    centres = (tf.cast(places, tf.float64) + 0.5) * scale
    centres = tf.reshape(centres, (num_groups, _GROUP_SIZE, 1))
    first = tf.maximum(tf.cast(centres - support + 0.5, tf.int32), 0)
    end = tf.minimum(tf.cast(centres + support + 0.5, tf.int32), length)
    num_inputs = tf.reduce_max(end[:, -1] - first[:, 0])
    inputs = tf.minimum(first[:, 0], length - num_inputs) + tf.range(num_inputs)
    places = inputs[:, None]
    distances = (tf.cast(places, tf.float64) - centres + 0.5) * (1 / stretch)
    weights = _kernel(tf.abs(distances), interpolation)
    weights = tf.where((places >= first) & (places < end), weights, 0.0)
    weights = weights / tf.reduce_sum(weights, axis=-1, keepdims=True)
    fixed = tf.floor(tf.abs(weights) * 2.0**_WEIGHT_BITS + 0.5) * tf.sign(weights)
    high = tf.round(fixed * 2.0**-_LOW_BITS)
    low = fixed * 2.0**-_LOW_BITS - high  # in units of 2^-15, so that its whole part carries
    begin = inputs[0, 0]
    return _Bands(
        first=begin,
        end=inputs[-1, -1] + 1,
        inputs=inputs - begin,
        weights=tf.cast(tf.concat([high * _HIGH_UNIT, low], axis=1), tf.float32),
        count=count,
    )


def _kernel(distances, interpolation):
    """Returns the height of the kernel, float64, at distances that are not negative."""
    if interpolation == "bilinear":
        return tf.maximum(1.0 - distances, 0.0)
    # Keys' cubic with a = -0.5.
    near = (1.5 * distances - 2.5) * distances * distances + 1.0
    far = (((distances - 5.0) * distances + 8.0) * distances - 4.0) * -0.5
    return tf.where(distances < 1.0, near, tf.where(distances < 2.0, far, 0.0))


def _compiled(interpolation):
    # One trace serves every size. Without it an eager call would cost a hundred small ones.
    pair = tf.TensorSpec((2,), tf.int32)
    return tf.function(
        functools.partial(_resampled_frame, interpolation=interpolation),
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8), pair, pair, pair],
        autograph=False,
    )


_COMPILED = {interpolation: _compiled(interpolation) for interpolation in INTERPOLATIONS}
