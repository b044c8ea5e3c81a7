"""Strings and image bytes straight into the model."""

import numpy as np
import pytest
import tensorflow as tf

from official_coca.errors import InvalidInputError
from tests.tiny_models import encoded_images, tiny_coca, tiny_preprocessor

CAPTIONS = ["a red cat", "the blue dog", "a photo of the green cat", "three"]
LAYERS = {"image_num_layers": 1, "unimodal_num_layers": 1, "multimodal_num_layers": 1}


@pytest.fixture(scope="module")
def preprocessor():
    return tiny_preprocessor()


@pytest.fixture
def model(preprocessor):
    return tiny_coca(preprocessor=preprocessor, **LAYERS)


def _logs(model, *data, **arguments):
    return model.evaluate(*data, verbose=0, return_dict=True, **arguments)


def test_every_form_of_raw_data_gives_the_same_losses(model, preprocessor):
    encoded = encoded_images(4)
    pixels = np.stack([tf.io.decode_png(image).numpy() for image in encoded])
    model.compile("sgd")
    pairs = tf.data.Dataset.from_tensor_slices((encoded, CAPTIONS)).batch(2)
    expected = _logs(model, pairs.map(preprocessor))
    dicts = tf.data.Dataset.from_tensor_slices({"images": pixels, "texts": CAPTIONS}).batch(2)
    for data in ((pairs,), (dicts,), (pixels, CAPTIONS), (encoded, np.array(CAPTIONS))):
        arguments = {} if len(data) == 1 else {"batch_size": 2}
        logs = _logs(model, *data, **arguments)
        assert logs.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(logs[name], value, rtol=1e-4, err_msg=name)


def test_fit_learns_from_raw_images_and_strings_with_validation(model):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 10, 15, 3)).astype("uint8")
    model.compile("adam")
    logs = model.fit(
        pixels, CAPTIONS, batch_size=2, epochs=3, verbose=0, validation_data=(pixels, CAPTIONS)
    ).history
    assert logs["loss"][-1] < logs["loss"][0] and len(logs["val_loss"]) == 3
    assert int(model.optimizer.iterations) == 6


def test_dataset_that_is_not_batched_is_refused(model):
    model.compile("sgd")
    single = tf.data.Dataset.from_tensor_slices((encoded_images(2), CAPTIONS[:2]))
    with pytest.raises(InvalidInputError, match=r"not batched; call \.batch\(n\)"):
        model.fit(single, verbose=0)


def test_bytes_pixels_and_preprocessed_images_embed_alike(model, preprocessor):
    encoded = encoded_images(3)
    pixels = np.stack([tf.io.decode_png(image).numpy() for image in encoded])
    expected = model.encode_image(preprocessor.convert_images(pixels))
    for images in (encoded, pixels, list(pixels), tf.constant(encoded), np.array(encoded)):
        np.testing.assert_allclose(model.encode_image(images), expected, atol=1e-5)


def test_strings_embed_like_their_token_ids(model, preprocessor):
    token_ids = preprocessor.token_ids(CAPTIONS)
    expected = model.encode_text(token_ids)
    np.testing.assert_allclose(model.encode_text(CAPTIONS), expected, atol=1e-6)
    np.testing.assert_allclose(model.encode_text(tf.constant(CAPTIONS)), expected, atol=1e-6)


def test_generate_writes_strings_and_continues_prompts(model):
    encoded = encoded_images(3)
    captions = model.generate(encoded)
    assert len(captions) == 3 and all(isinstance(caption, str) for caption in captions)
    continued = model.generate(encoded, prompt=["a red", "the", "a photo of"], max_length=10)
    for caption, beginning in zip(continued, ("a red", "the", "a photo of")):
        assert caption.startswith(beginning)
    beams, scores = model.generate(
        encoded, sampler="beam", num_beams=3, num_return_sequences=2, return_scores=True
    )
    assert [len(row) for row in beams] == [2, 2, 2] and scores.shape == (3, 2)
    assert np.all(scores[:, 0] >= scores[:, 1])


def test_generated_function_is_compiled_once_for_a_shape(model):
    for _ in range(2):
        model.generate(encoded_images(2), max_length=6)
    (function,) = model._functions.values()
    assert function.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.encode_text(["a cat", " "]), "text 1 is empty"),
        (lambda model: model.encode_image([b"GIF89a broken"]), "image 0 .* cannot be decoded"),
        (
            lambda model: model.encode_image([encoded_images(1)[0], encoded_images(1)[0][:40]]),
            "image 1 .* cut off",
        ),
        (lambda model: model.generate(encoded_images(2), prompt=["a"]), "1 prompts for 2 images"),
        (lambda model: model.generate(encoded_images(1), sampler="best"), "unknown sampler 'best'"),
        (lambda model: model.generate(encoded_images(1), num_beams=2), "no option 'num_beams'"),
        (
            lambda model: model.generate(encoded_images(1), max_length=3, min_length=5),
            "^min_length=5 is greater than max_length=3",
        ),
        (
            lambda model: model.generate(encoded_images(1), prompt="a red cat", max_length=2),
            "^max_length=2 is smaller than the prompt",
        ),
    ],
)
def test_bad_input_names_the_fault(model, call, message):
    with pytest.raises(InvalidInputError, match=message):
        call(model)


def test_caption_beyond_the_limit_is_cut_with_a_warning(model):
    with pytest.warns(UserWarning, match="text 0 has .* tokens and is cut to 9"):
        model.encode_text(["a red cat left of the blue dog above the green three"])
