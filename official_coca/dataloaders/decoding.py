"""Decodes a batch of images and replaces those that cannot be decoded.

B rows of a batch, D decoded rows, H x W pixels.
"""

import os

import tensorflow as tf

from official_coca.preprocessing.image import decode_image

# Traced once for all datasets.
_decode = tf.function(
    decode_image, input_signature=[tf.TensorSpec([], tf.string)], autograph=False
)


def decode_rows(encoded, seeds, to_view, image_size):
    """Decodes each image and makes its view, in parallel; undecodable ones are left out.

    Errors are caught around the decoding alone, so a mistake in `to_view` still shows.

    Args:
        encoded: (B,) strings.
        seeds: (B,2) int32, one for each row.
        to_view: function of an image (h,w,3) uint8 and a seed (2,), to a view (H,W,3) float32.
        image_size: the pair (H, W).

    Returns:
        rows (D,) int32, ascending, those that could be decoded, and their views (D,H,W,3).
    """
    num_rows = tf.shape(encoded)[0]

    def as_view(image, seed):
        return tf.ensure_shape(tf.cast(to_view(image, seed), tf.float32), (*image_size, 3))

    parallel = {"num_parallel_calls": os.cpu_count(), "deterministic": True}
    images = (
        tf.data.Dataset.from_tensor_slices((tf.range(num_rows), encoded, seeds))
        .map(lambda row, data, seed: (row, _decode(data), seed), **parallel)
        .ignore_errors()
        .map(lambda row, image, seed: (row, as_view(image, seed)), **parallel)
    )
    # The last element stands in for a batch of none, which would be an error.
    nothing = tf.data.Dataset.from_tensors((num_rows, tf.zeros((*image_size, 3))))
    rows, views = (
        images.concatenate(nothing).batch(tf.cast(num_rows, tf.int64) + 1).get_single_element()
    )
    return rows[:-1], views[:-1]


def stand_ins(rows, source_ids):
    """Chooses for each row of the batch a decoded row to take: itself where that is possible.

    A row that could not be decoded is replaced by the next decoded row of its source in this
    batch, counted in a circle, or of any source when its own has none. So each batch keeps its
    size and shares, and depends on nothing outside it. A pair that is in a batch twice has no
    gradient towards or from its double, as their embeddings are equal.

    Args:
        rows: (D,) int32, the rows that could be decoded, D > 0.
        source_ids: (B,) int32.

    Returns:
        (B,) int32, indices into `rows`.
    """
    num_rows = tf.size(source_ids)
    distance = tf.math.floormod(rows[tf.newaxis, :] - tf.range(num_rows)[:, tf.newaxis], num_rows)
    elsewhere = source_ids[:, tf.newaxis] != tf.gather(source_ids, rows)[tf.newaxis, :]
    return tf.argmin(
        distance + num_rows * tf.cast(elsewhere, tf.int32), axis=1, output_type=tf.int32
    )
