"""Sizes are read off the headers of every format."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_coca.preprocessing import image_headers
from official_coca.preprocessing.decode_image import decode_image
from tests.preprocessing import pictures

GOOD = pictures.good_pictures()


@pytest.fixture(scope="module")
def servable_pixels():
    return tf.function(
        image_headers.servable_pixels, input_signature=[tf.TensorSpec([None], tf.string)]
    )


def test_good_pictures_declare_the_pixels_they_have(servable_pixels):
    declared = servable_pixels(tf.constant(list(GOOD.values())))
    expected = pictures.WIDTH * pictures.HEIGHT
    assert dict(zip(GOOD, declared.numpy())) == dict.fromkeys(GOOD, expected)


@pytest.mark.parametrize("size", [(1, 2), (300, 200), (5000, 3)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_width_and_height_are_told_apart(servable_pixels, kind, size):
    image = pictures.random_picture(size)
    image = image.convert("P") if kind == "GIF" else image
    (declared,) = servable_pixels(tf.constant([pictures.encode(image, kind)]))
    assert declared == size[0] * size[1]


def test_bombs_declare_what_they_claim(servable_pixels):
    files = {name: file for name, file in pictures.bombs().items() if name != "gif frame"}
    declared = servable_pixels(tf.constant(list(files.values())))
    assert dict(zip(files, declared.numpy())) == dict.fromkeys(files, 400_000_000)


def test_what_is_no_picture_declares_nothing(servable_pixels):
    bad = pictures.bad_pictures()
    names = [name for name in bad if " cut " not in name and "webp start" != name]
    declared = servable_pixels(tf.constant([bad[name] for name in names]))
    assert dict(zip(names, declared.numpy())) == dict.fromkeys(names, 0)


def test_unusual_pictures_declare_nothing(servable_pixels):
    unusual = pictures.unusual_pictures()
    unusual = {name: file for name, file in unusual.items() if "animated" not in name}
    declared = servable_pixels(tf.constant(list(unusual.values())))
    assert dict(zip(unusual, declared.numpy())) == dict.fromkeys(unusual, 0)


def test_a_dozen_scans_and_a_film_behind_the_photo_are_served(servable_pixels):
    film = np.random.default_rng(0).bytes(10_000_000)  # 150 starts of a scan by chance
    files = [pictures.jpeg_of_scans(5), GOOD["jpeg"] + film]
    assert servable_pixels(tf.constant(files)).numpy().all()


def test_bitmap_with_masks_in_the_common_order_is_served(servable_pixels):
    file = pictures.masked_bitmap(0xFF0000, 0xFF00, 0xFF)
    assert servable_pixels(tf.constant([file])).numpy().all()
    expected = Image.open(io.BytesIO(file)).convert("RGB")
    np.testing.assert_array_equal(decode_image(file), expected)


def test_there_may_be_no_files(servable_pixels):
    assert servable_pixels(tf.constant([], tf.string)).shape == (0,)
