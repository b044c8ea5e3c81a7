"""Behaviour of batch decoding."""

import numpy as np
import pytest
import tensorflow as tf

from official_coca.dataloaders.decoding import decode_rows, stand_ins
from tests.dataloaders.numbered_shards import encoded_image


def to_view(image, seed):
    return tf.cast(image, tf.float32) + tf.cast(seed[0], tf.float32)


def test_rows_that_decode_come_with_their_own_seeds():
    encoded = [encoded_image(1), b"not a picture", encoded_image(3), encoded_image(4)[:30]]
    seeds = tf.constant([[10, 0], [20, 0], [30, 0], [40, 0]])
    rows, views = decode_rows(tf.constant(encoded), seeds, to_view, (4, 4))
    assert rows.numpy().tolist() == [0, 2]
    assert views.shape == (2, 4, 4, 3)
    assert views.numpy()[:, 0, 0, 0].tolist() == [11.0, 33.0]


def test_no_row_decodes():
    rows, views = decode_rows(tf.constant([b"x"]), tf.zeros((1, 2), tf.int32), to_view, (4, 4))
    assert rows.shape == (0,) and views.shape == (0, 4, 4, 3)


def test_a_mistake_in_the_view_is_not_taken_for_a_bad_image():
    def mistaken(image, seed):
        return tf.image.crop_to_bounding_box(image, 0, 0, 10 + seed[0], 4)

    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_rows(tf.constant([encoded_image(1)]), tf.zeros((1, 2), tf.int32), mistaken, (4, 4))


def test_stand_in_is_the_next_of_the_same_source_and_else_of_any():
    source_ids = tf.constant([0, 1, 0, 1, 0, 2])
    rows = tf.constant([1, 2, 4])
    taken = np.array([1, 2, 4])[stand_ins(rows, source_ids)]
    #        0 -> 2, 1 and 2 stay, 3 -> 1 around the end, 4 stays, 5 -> 1 as source 2 has none
    assert taken.tolist() == [2, 1, 2, 1, 4, 1]
