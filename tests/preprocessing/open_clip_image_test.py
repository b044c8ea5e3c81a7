"""The converter made from `preprocess_cfg` against open_clip's own transform and Pillow."""

import io
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_coca.errors import InvalidInputError
from official_coca.preprocessing.image import ImageConverter
from official_coca.preprocessing.open_clip_image import OPENAI_MEAN, OPENAI_STD

FIXTURE = pathlib.Path(__file__).parents[1] / "fixtures" / "open_clip_pixels.npz"
RECORDED = np.load(FIXTURE)
CONFIGS = json.loads(str(RECORDED["configs"]))
ANY_PICTURE = tf.TensorSpec((None, None, 3), tf.uint8)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("index", range(len(CONFIGS)))
def test_image_equals_the_one_of_open_clip(index):
    """Within the rounding of float32; a single level would be 0.013."""
    converter = ImageConverter.from_preprocess_cfg(CONFIGS[index])
    image = converter(RECORDED[f"pixels_{index}"])
    np.testing.assert_allclose(image, RECORDED[f"image_{index}"], rtol=0, atol=1e-6)


def test_missing_entries_take_the_defaults_of_open_clip():
    for preprocess_cfg in ({}, {"mean": None, "std": None, "interpolation": None}):
        assert ImageConverter.from_preprocess_cfg(preprocess_cfg).get_config() == {
            "image_size": [224, 224],
            "mean": list(OPENAI_MEAN),
            "std": list(OPENAI_STD),
            "interpolation": "bicubic",
            "antialias": True,
            "resize_mode": "crop",
            "resampler": "pillow",
            "fill_color": [0.0, 0.0, 0.0],
        }


def test_the_size_of_the_model_goes_before_the_one_of_the_dict():
    assert ImageConverter.from_preprocess_cfg({"size": [8, 9]}).image_size == (8, 9)
    assert ImageConverter.from_preprocess_cfg({"size": 8}, (4, 5)).image_size == (4, 5)
    assert ImageConverter.from_preprocess_cfg({}, 12).image_size == (12, 12)


@pytest.mark.parametrize(
    ("preprocess_cfg", "named"),
    [({"mode": "L"}, "mode='L'.*RGB"), ({"resize_mode": "crop"}, "resize_mode='crop'.*shortest"),
     ({"interpolation": "lanczos"}, "interpolation='lanczos'.*bicubic"),
     ({"interpolation": ["bicubic"]}, "interpolation=.*bicubic"),
     ({"crop_pct": 0.9}, "crop_pct"), ({"mean": "imagenet"}, "mean"), ({"mean": [0.5]}, "mean"),
     ({"std": [1, 0, 1]}, "std"), ({"size": 0}, "image_size"), ({"size": [1, 2, 3]}, "image_size"),
     ({"fill_color": -1}, "fill_color"), ({"fill_color": "red"}, "fill_color"),
     ([], "preprocess_cfg")],
)  # fmt: skip
def test_an_entry_that_open_clip_does_not_know_is_named(preprocess_cfg, named):
    with pytest.raises(InvalidInputError, match=named) as caught:
        ImageConverter.from_preprocess_cfg(preprocess_cfg)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
def test_python_graph_and_bytes_agree(resize_mode):
    converter = ImageConverter.from_preprocess_cfg({"resize_mode": resize_mode}, (12, 20))
    in_graph = tf.function(converter, input_signature=[ANY_PICTURE])
    decode_in_graph = tf.function(
        converter.decode, input_signature=[tf.TensorSpec((None,), tf.string)]
    )
    for shape in [(20, 30, 3), (90, 11, 3), (12, 20, 3)]:
        pixels = noise(*shape)
        image = converter(pixels)
        assert image.shape == (12, 20, 3) and image.dtype == tf.float32
        np.testing.assert_array_equal(image, in_graph(pixels))
        np.testing.assert_array_equal(image, converter(pixels[None])[0])
        np.testing.assert_array_equal(image, converter(pixels.astype(np.float32)))
        np.testing.assert_array_equal(image, converter.decode([png(pixels)])[0])
        np.testing.assert_array_equal(image, decode_in_graph([png(pixels)])[0])


def test_tf_data_and_a_saved_model_give_the_same(tmp_path):
    converter = ImageConverter.from_preprocess_cfg({}, 16)
    pictures = [noise(20, 30, 3), noise(50, 21, 3), noise(9, 9, 3)]
    expected = [converter(pixels).numpy() for pixels in pictures]
    dataset = tf.data.Dataset.from_generator(lambda: pictures, output_signature=ANY_PICTURE)
    for image, wanted in zip(dataset.map(converter), expected, strict=True):
        np.testing.assert_array_equal(image, wanted)
    module = tf.Module()
    module.convert = tf.function(converter, input_signature=[ANY_PICTURE])
    tf.saved_model.save(module, tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    for pixels, wanted in zip(pictures, expected, strict=True):
        np.testing.assert_array_equal(loaded.convert(pixels), wanted)


def test_config_makes_an_equal_converter_and_an_old_one_still_loads():
    converter = ImageConverter.from_preprocess_cfg({"resize_mode": "longest", "fill_color": 9}, 8)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(converter))
    assert copy.get_config() == converter.get_config()
    np.testing.assert_array_equal(copy(noise(9, 30, 3)), converter(noise(9, 30, 3)))
    old = {key: value for key, value in ImageConverter(8).get_config().items()
           if key not in ("resampler", "fill_color")}  # fmt: skip
    assert ImageConverter.from_config(old).get_config() == ImageConverter(8).get_config()


def test_a_side_that_would_vanish_keeps_one_pixel():
    """open_clip stops with an error there."""
    converter = ImageConverter.from_preprocess_cfg({"resize_mode": "longest"}, 8)
    resized = converter.resize(np.full((1, 100, 3), 200, np.uint8), (8, 8)).numpy()
    assert (resized[3] == 200).all() and (np.delete(resized, 3, axis=0) == 0).all()


def test_float_pixels_are_rounded_to_levels_first():
    converter = ImageConverter.from_preprocess_cfg({}, 8)
    pixels = noise(11, 13, 3)
    shifted = pixels + np.random.default_rng(1).uniform(-0.49, 0.49, pixels.shape)
    np.testing.assert_array_equal(converter(pixels), converter(shifted.astype(np.float32)))


@pytest.mark.parametrize("option", [{"interpolation": "lanczos3"}, {"antialias": False}])
def test_what_pillow_cannot_equal_is_refused(option):
    with pytest.raises(InvalidInputError, match=next(iter(option))):
        ImageConverter(8, resampler="pillow", **option)
