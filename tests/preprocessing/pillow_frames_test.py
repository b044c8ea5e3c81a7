"""Frames by compiled loops equal those of the converter's graph."""

import numpy as np
import pytest
import tensorflow as tf

from official_coca.preprocessing.image import ImageConverter
from official_coca.preprocessing.pillow_frames import PillowFrames

SIZE = (16, 12)


@pytest.mark.parametrize("mode", ["squash", "crop", "pad"])
@pytest.mark.parametrize("stored", [(50, 37), (37, 50), (16, 12), (3, 90), (90, 3), (1, 1)])
def test_frames_equal_those_of_the_converter(mode, stored):
    converter = ImageConverter(
        8, resize_mode=mode, resampler="pillow", interpolation="bicubic", fill_color=(9, 0, 200)
    )
    pixels = np.random.default_rng(0).integers(0, 256, (*stored, 3), np.uint8)
    expected = converter.resize(pixels, SIZE)
    frames = PillowFrames(converter, SIZE)
    in_graph = tf.function(frames)(tf.constant(pixels))
    assert in_graph.shape == (*SIZE, 3) and in_graph.dtype == tf.float32
    np.testing.assert_array_equal(in_graph, expected)
    np.testing.assert_array_equal(frames.of(pixels), expected)


def test_only_frames_of_whole_levels_by_pillow_fit():
    assert PillowFrames.fits(ImageConverter(8, resampler="pillow"))
    assert not PillowFrames.fits(ImageConverter(8))
    assert not PillowFrames.fits(
        ImageConverter(8, resampler="pillow", resize_mode="pad", fill_color=127.5)
    )
