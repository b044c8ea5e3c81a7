"""`tf.image.resize` is the oracle: not one bit may differ, on x86."""

import numpy as np
import pytest
import tensorflow as tf

from official_coca.preprocessing.tensorflow_resampling import resized_frame
from tests.preprocessing.resampling_test import SIZES, noise


@pytest.mark.parametrize(("stored", "size"), [*SIZES, ((100, 80), (288, 288))])
def test_every_frame_equals_the_same_part_of_the_whole(stored, size):
    pixels = noise(*stored, 3)
    whole = tf.image.resize(tf.cast(pixels, tf.float32), size, "bilinear", antialias=True)
    whole = tf.clip_by_value(whole, 0.0, 255.0).numpy()
    corners = [(0, 0), (size[0] // 3, size[1] // 2), (size[0] - 1, size[1] - 1)]
    for top, left in corners:
        for height, width in [(1, 1), (size[0] - top, size[1] - left)]:
            frame = resized_frame(pixels, size, (top, left), (height, width))
            expected = whole[top : top + height, left : left + width]
            np.testing.assert_array_equal(frame, expected)


def test_white_stays_white():
    white = np.full((37, 53, 3), 255, np.uint8)
    frame = resized_frame(white, (20, 24), (0, 0), (20, 24))
    assert frame.max() <= 255.0 and frame.min() > 254.9
