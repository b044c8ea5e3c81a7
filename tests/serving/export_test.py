"""The SavedModel answers as the Python model does."""

import sys
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.serving.export_module import export_saved_model
from tests.tiny_models import encoded_images, tiny_coca, tiny_preprocessor

LAYERS = {"image_num_layers": 1, "unimodal_num_layers": 1, "multimodal_num_layers": 1}


@pytest.fixture(scope="module")
def model():
    return tiny_coca(preprocessor=tiny_preprocessor(), **LAYERS)


@pytest.fixture(scope="module")
def directory(model, tmp_path_factory):
    directory = tmp_path_factory.mktemp("export") / "saved_model"
    export_saved_model(model, directory, sampler="beam", num_beams=3, max_length=8)
    return directory


def test_saved_model_equals_python(model, directory):
    loaded = tf.saved_model.load(str(directory))
    encoded, texts = encoded_images(3), ["a red cat", "three", "the dog"]
    signatures = loaded.signatures
    np.testing.assert_allclose(
        signatures["encode_image"](images=tf.constant(encoded))["image_embedding"],
        model.encode_image(encoded),
        atol=1e-5,
    )
    np.testing.assert_allclose(
        signatures["encode_text"](texts=tf.constant(texts))["text_embedding"],
        model.encode_text(texts),
        atol=1e-5,
    )
    prompts = ["", "a", "the red"]
    served = loaded.generate(tf.constant(encoded), tf.constant(prompts))
    expected, scores = model.generate(
        encoded, prompt=prompts, sampler="beam", num_beams=3, max_length=8, return_scores=True
    )
    assert [caption.decode() for caption in served["captions"].numpy()] == expected
    np.testing.assert_allclose(served["scores"], scores, atol=1e-5)


def test_saved_model_loads_in_a_process_that_knows_only_tensorflow_and_its_text_ops(directory):
    code = (
        "import sys, tensorflow as tf, tensorflow_text\n"
        f"loaded = tf.saved_model.load({str(directory)!r})\n"
        "print(loaded.encode_text(tf.constant(['a cat']))['text_embedding'].shape)\n"
        "assert not any(name.startswith('official') for name in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=directory
    )
    assert ran.stdout.strip() == "(1, 16)", ran.stderr


def test_model_without_preprocessor_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="no preprocessor"):
        export_saved_model(tiny_coca(**LAYERS), tmp_path / "export")
