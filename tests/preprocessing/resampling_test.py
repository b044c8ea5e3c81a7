"""Pillow is the oracle: not one level of one pixel may differ."""

import io
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_coca.preprocessing.resampling import resize_and_cut
from tests.shared_data import shared_data_directory

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

# Stored (h, w) and resized (H, W): enlarged and shrunk, both ways at once, sides of one pixel,
# kernels of hundreds of pixels, and shapes where Pillow begins with the rows.
SIZES = [
    ((60, 80), (30, 40)),
    ((60, 80), (7, 93)),
    ((5, 4), (64, 64)),
    ((1, 1), (9, 12)),
    ((1, 40), (12, 12)),
    ((40, 1), (12, 12)),
    ((50, 50), (50, 20)),
    ((50, 50), (20, 50)),
    ((200, 37), (20, 90)),
    ((300, 40), (24, 24)),
    ((3, 2000), (6, 5)),
    ((2000, 3), (5, 6)),
    ((8, 8), (2048, 8)),
    ((333, 500), (224, 336)),
]  # fmt: skip


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def resized_by_pillow(pixels, size, interpolation):
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], FILTERS[interpolation]))


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(("stored", "size"), SIZES)
def test_every_level_equals_pillow(stored, size, interpolation):
    pictures = [noise(*stored, 3), (noise(*stored, 3, seed=1) > 127).astype(np.uint8) * 255]
    for pixels in pictures:
        resized = resize_and_cut(tf.constant(pixels), size, (0, 0), size, interpolation)
        assert resized.dtype == tf.uint8
        np.testing.assert_array_equal(resized, resized_by_pillow(pixels, size, interpolation))


@pytest.mark.parametrize("stored", [(90, 40), (400, 30), (40, 90)])
def test_frame_equals_the_same_part_of_the_whole(stored):
    pixels, size = noise(*stored, 3), (70, 61)
    whole = resized_by_pillow(pixels, size, "bicubic")
    for offset, frame in [((0, 0), (1, 1)), ((69, 60), (1, 1)), ((13, 5), (40, 33))]:
        cut = resize_and_cut(tf.constant(pixels), size, offset, frame, "bicubic")
        (top, left), (height, width) = offset, frame
        expected = whole[top : top + height, left : left + width]
        np.testing.assert_array_equal(cut, expected)


@pytest.mark.parametrize("stored", [(30, 45), (300, 20)])
def test_pictures_of_a_batch_are_resized_each_by_itself(stored):
    batch = noise(3, *stored, 3)
    resized = resize_and_cut(tf.constant(batch), (16, 24), (0, 0), (16, 24), "bicubic")
    expected = [resized_by_pillow(pixels, (16, 24), "bicubic") for pixels in batch]
    np.testing.assert_array_equal(resized, expected)
    empty = resize_and_cut(tf.constant(batch[:0]), (16, 24), (0, 0), (16, 24), "bicubic")
    assert empty.shape == (0, 16, 24, 3)


def test_thousands_of_pixels_an_output_are_summed_exactly():
    """The worst case of the split weights: a large, bright picture and a tiny frame."""
    pixels = np.maximum(noise(40, 9000, 3), 200)
    resized = resize_and_cut(tf.constant(pixels), (9, 9), (0, 0), (9, 9), "bicubic")
    np.testing.assert_array_equal(resized, resized_by_pillow(pixels, (9, 9), "bicubic"))


@pytest.mark.parametrize("folder", ["captions_flickr8k", "labels_caltech101", "vqa_daquar"])
def test_photographs_equal_pillow(folder):
    archive = zipfile.ZipFile(shared_data_directory(folder) / "val.zip")
    names = [name for name in archive.namelist() if name.endswith((".jpg", ".png"))][:20]
    for name in names:
        pixels = np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))
        resized = resize_and_cut(tf.constant(pixels), (224, 224), (0, 0), (224, 224), "bicubic")
        expected = resized_by_pillow(pixels, (224, 224), "bicubic")
        np.testing.assert_array_equal(resized, expected, err_msg=name)
