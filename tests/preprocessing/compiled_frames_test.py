"""Frames by compiled loops equal those of the converter's graph."""

import numpy as np
import pytest
import tensorflow as tf

from official_coca.preprocessing.image import ImageConverter
from official_coca.preprocessing.compiled_frames import CompiledFrames, fast_resize

SIZE = (16, 12)


@pytest.mark.parametrize("resampler", ["pillow", "tensorflow"])
@pytest.mark.parametrize("mode", ["squash", "crop", "pad"])
@pytest.mark.parametrize("stored", [(50, 37), (37, 50), (16, 12), (3, 90), (90, 3), (1, 1)])
def test_frames_equal_those_of_the_converter(mode, stored, resampler):
    converter = ImageConverter(
        8, resize_mode=mode, resampler=resampler, interpolation="bilinear", fill_color=(9, 0, 200)
    )
    pixels = np.random.default_rng(0).integers(0, 256, (*stored, 3), np.uint8)
    expected = converter.resize(pixels, SIZE)
    frames = CompiledFrames(converter, SIZE)
    in_graph = tf.function(frames)(tf.constant(pixels))
    assert in_graph.shape == (*SIZE, 3) and in_graph.dtype == tf.float32
    np.testing.assert_array_equal(in_graph, expected)
    np.testing.assert_array_equal(frames.of(pixels), expected)


def test_frames_of_other_resamplings_are_left_to_the_graph():
    assert CompiledFrames.fits(ImageConverter(8, resampler="pillow", interpolation="bicubic"))
    assert CompiledFrames.fits(ImageConverter(8))
    others = [
        {"antialias": False},
        {"interpolation": "bicubic"},
        {"resampler": "pillow", "resize_mode": "pad", "fill_color": 127.5},
    ]
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    for arguments in others:
        converter = ImageConverter(8, **arguments)
        assert not CompiledFrames.fits(converter)
        np.testing.assert_array_equal(
            fast_resize(converter, SIZE)(pixels), converter.resize(pixels, SIZE)
        )
