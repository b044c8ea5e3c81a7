"""Decoding of every kind of picture, and one path for bytes and for pixels."""

import io
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_coca.errors import InvalidInputError
from official_coca.preprocessing import framing
from official_coca.preprocessing.image import ImageConverter, decode_image


def random_pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


COLOUR = Image.fromarray(random_pixels(20, 30, 3))
TRANSPARENT = Image.fromarray(random_pixels(20, 30, 4))
SIXTEEN_BIT = Image.fromarray((random_pixels(20, 30).astype(np.uint16) << 8) + 7)

LOSSLESS = {
    "png": (COLOUR, "PNG", {}),
    "png alpha": (TRANSPARENT, "PNG", {}),
    "png grey": (COLOUR.convert("L"), "PNG", {}),
    "png grey alpha": (COLOUR.convert("LA"), "PNG", {}),
    "png palette": (COLOUR.convert("P"), "PNG", {}),
    "png bits": (COLOUR.convert("1"), "PNG", {}),
    "gif": (COLOUR.convert("P"), "GIF", {}),
    "bmp": (COLOUR, "BMP", {}),
    "bmp alpha": (TRANSPARENT, "BMP", {}),
    "bmp grey": (COLOUR.convert("L"), "BMP", {}),
    "bmp palette": (COLOUR.quantize(7), "BMP", {}),
    "webp": (COLOUR, "WEBP", {"lossless": True}),
    "webp alpha": (TRANSPARENT, "WEBP", {"lossless": True, "exact": True}),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_decoded_picture_equals_pillow(name):
    image, kind, options = LOSSLESS[name]
    decoded = decode_image(encode(image, kind, **options))
    assert decoded.dtype == tf.uint8
    np.testing.assert_array_equal(decoded, image.convert("RGB"))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_of_any_colour_space_becomes_rgb(mode):
    encoded = encode(COLOUR.convert(mode), "JPEG")
    expected = Image.open(io.BytesIO(encoded)).convert("RGB")
    np.testing.assert_array_equal(decode_image(encoded), expected)


def test_sixteen_bits_are_scaled_to_eight():
    expected = np.repeat(np.asarray(SIXTEEN_BIT)[..., None] >> 8, 3, axis=-1)
    np.testing.assert_array_equal(decode_image(encode(SIXTEEN_BIT)), expected)


def test_first_frame_of_an_animation_is_taken():
    frames = encode(COLOUR.convert("P"), "GIF", save_all=True, append_images=[COLOUR.rotate(180)])
    np.testing.assert_array_equal(decode_image(frames), COLOUR.convert("P").convert("RGB"))


@pytest.mark.parametrize("image", [COLOUR, TRANSPARENT], ids=["colour", "alpha"])
def test_animated_webp_is_refused_and_not_decoded(image):
    encoded = encode(image, "WEBP", save_all=True, append_images=[image.rotate(180)])
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(encoded)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_cut_off_file_is_named_by_its_index(kind):
    good = encode(COLOUR, kind)
    with pytest.raises(InvalidInputError, match=r"image 1 \(\d+ bytes\) cannot be decoded"):
        ImageConverter(8).decode([good, good[: len(good) // 2]])


@pytest.mark.parametrize("content", [b"", b"BM", b"RIFF0000WEBP", b"cat.jpg", b"\xff\xd8\xff"])
def test_bytes_that_are_no_picture_are_refused(content):
    with pytest.raises(InvalidInputError, match="image 0 .*JPEG, PNG, GIF, BMP, WebP"):
        ImageConverter(8).decode([content])


@pytest.mark.parametrize("resize_mode", ["squash", "crop"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_bytes_and_pixels_give_the_same_image(kind, resize_mode):
    converter = ImageConverter((12, 16), resize_mode=resize_mode)
    encoded = encode(COLOUR, kind)
    pixels = decode_image(encoded).numpy()
    from_bytes = converter.decode([encoded])
    np.testing.assert_array_equal(from_bytes, converter(pixels[None]))
    np.testing.assert_array_equal(from_bytes[0], converter(pixels.astype(np.float32)))
    np.testing.assert_array_equal(from_bytes, tf.function(converter.decode)(tf.constant([encoded])))


@pytest.mark.parametrize("resize_mode", ["squash", "crop"])
def test_picture_of_the_right_size_comes_back_exactly(resize_mode):
    converter = ImageConverter((20, 30), interpolation="bicubic", resize_mode=resize_mode)
    pixels = random_pixels(2, 20, 30, 3)
    any_size = tf.TensorSpec([None, None, None, 3], tf.uint8)
    for convert in (converter, tf.function(converter, input_signature=[any_size])):
        normalized = convert(pixels).numpy()
        assert normalized.dtype == np.float32 and np.abs(normalized).max() < 1.000001
        back = np.rint((normalized * 0.5 + 0.5) * 255).astype(np.uint8)
        np.testing.assert_array_equal(back, pixels)


def test_mean_and_std_apply_to_each_channel():
    converter = ImageConverter(4, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    pixels = np.full((4, 4, 3), 255, np.uint8)
    np.testing.assert_allclose(converter(pixels)[0, 0], [1.8, 3.2, 0.35], rtol=1e-6)


@pytest.mark.parametrize("stored", [(40, 40), (10, 40), (40, 10), (7, 9), (33, 65)])
def test_crop_keeps_the_centre_and_the_aspect_ratio(stored):
    """A picture whose pixels tell their place must keep equal steps both ways."""
    height, width = stored
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    picture = np.stack([rows, columns, rows], axis=-1)
    resized = ImageConverter((8, 12), resize_mode="crop").resize(picture, (8, 12)).numpy()
    assert resized.shape == (8, 12, 3)
    middle = resized[3:5, 5:7]
    row_step, column_step = np.diff(middle[:, 0, 0])[0], np.diff(middle[0, :, 1])[0]
    assert row_step == pytest.approx(column_step, rel=0.15)
    centre = middle.mean(axis=(0, 1))
    np.testing.assert_allclose(centre[:2], [(height - 1) / 2, (width - 1) / 2], atol=row_step)


@pytest.mark.parametrize("stored", [(1, 500), (3, 601), (700, 2), (40, 1500), (10, 200)])
def test_long_picture_is_cropped_to_its_middle_within_a_pixel(stored):
    converter = ImageConverter((8, 12), resize_mode="crop", mean=(0,) * 3, std=(1,) * 3)
    length = max(stored)
    ramp = np.linspace(0, 255, length, dtype=np.float32)
    ramp = ramp[None, :] if stored[1] == length else ramp[:, None]
    pixels = np.broadcast_to(ramp[..., None], (*stored, 3)).astype(np.float32)
    size = tuple(framing.covering_size(tf.constant(stored), (8, 12)).numpy())
    whole = tf.image.resize(pixels, size, antialias=True)
    expected = framing.cut(whole, framing.centre_offset(size, np.array((8, 12))), (8, 12)) / 255
    step = 1 / length / (max(size) / length)  # from a pixel of the frame to the next
    np.testing.assert_allclose(converter(pixels), expected, atol=1.01 * step)


def test_long_picture_that_is_cropped_takes_no_memory_in_proportion_to_its_length():
    code = """
import resource, tensorflow as tf
from official_coca.preprocessing.image import ImageConverter
from tests.preprocessing import pictures
converter = ImageConverter(32, resize_mode="crop")
converter.decode([pictures.png_of_zeros(100, 1)])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
converter.decode([pictures.png_of_zeros(300_000, 1), pictures.png_of_zeros(1, 300_000)])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 100_000  # KiB; resized as a whole it would take 3,600,000


def test_squash_fills_the_frame_with_the_whole_picture():
    picture = np.zeros((10, 40, 3), np.uint8)
    picture[:, 20:] = 200
    resized = ImageConverter(8).resize(picture, (8, 8)).numpy()
    assert (resized[:, :3] < 1).all() and (resized[:, 5:] > 199).all()


def test_wrong_rank_dtype_and_channels_are_refused():
    converter = ImageConverter(8)
    with pytest.raises(InvalidInputError, match="dtype int64.*uint8"):
        converter(np.zeros((1, 8, 8, 3), np.int64))
    for shape in [(8, 8), (8, 8, 4), (1, 1, 8, 8, 3)]:
        with pytest.raises(InvalidInputError, match="images have shape"):
            converter(np.zeros(shape, np.uint8))
    with pytest.raises(InvalidInputError, match="batch of strings"):
        converter.decode(b"one picture")


def test_an_empty_batch_stays_empty():
    converter = ImageConverter((8, 12))
    assert converter.decode(tf.zeros([0], tf.string)).shape == (0, 8, 12, 3)
    assert tf.function(converter.decode)(tf.zeros([0], tf.string)).shape == (0, 8, 12, 3)


def test_config_makes_an_equal_converter():
    converter = ImageConverter((8, 12), (0.1, 0.2, 0.3), (1, 2, 3), "bicubic", False, "crop")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(converter))
    assert copy.get_config() == converter.get_config()
    np.testing.assert_array_equal(copy(random_pixels(9, 9, 3)), converter(random_pixels(9, 9, 3)))


@pytest.mark.parametrize(
    "arguments",
    [{"image_size": 0}, {"image_size": (1, 2, 3)}, {"interpolation": "cubic"}, {"std": (1, 0, 1)},
     {"mean": (0.5,)}, {"resize_mode": "stretch"}, {"resampler": "torch"},
     {"fill_color": 256}],
)  # fmt: skip
def test_constructor_names_a_wrong_argument(arguments):
    with pytest.raises(InvalidInputError, match=next(iter(arguments))):
        ImageConverter(**arguments)
