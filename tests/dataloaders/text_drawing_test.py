"""Behaviour of the draws of captions."""

import collections

import numpy as np
import tensorflow as tf

from official_coca.dataloaders.text_drawing import draw_captions


def strings(tensor):
    return [value.decode() for value in tensor.numpy()]


def test_each_row_draws_among_its_own_captions_evenly():
    rows = tf.ragged.constant([["a", "b", "c"], ["d"]] * 300)
    drawn = strings(draw_captions(rows, [1, 2]))
    counts = collections.Counter(drawn[::2])
    assert set(counts) == {"a", "b", "c"} and min(counts.values()) > 70
    assert set(drawn[1::2]) == {"d"}


def test_draws_depend_on_the_seed_alone():
    rows = tf.ragged.constant([["a", "b", "c"]] * 50)
    first = draw_captions(rows, [1, 2]).numpy()
    np.testing.assert_array_equal(first, draw_captions(rows, [1, 2]).numpy())
    assert (first != draw_captions(rows, [1, 3]).numpy()).any()


def test_no_rows_give_no_text():
    rows = tf.RaggedTensor.from_row_lengths(tf.constant([], tf.string), tf.constant([], tf.int64))
    assert strings(draw_captions(rows, [1, 2])) == []
