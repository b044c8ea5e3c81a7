"""One exported model for the tests of this folder."""

import pytest
import tensorflow as tf

from official_coca.serving.saved_model import export_saved_model
from tests.tiny_models import tiny_coca, tiny_preprocessor

LAYERS = {"image_num_layers": 1, "unimodal_num_layers": 1, "multimodal_num_layers": 1}


@pytest.fixture(scope="session")
def model():
    return tiny_coca(preprocessor=tiny_preprocessor(), **LAYERS)


@pytest.fixture(scope="session")
def directory(model, tmp_path_factory):
    """The directory of the versions, with one version and the text pair."""
    directory = tmp_path_factory.mktemp("export") / "models"
    export_saved_model(
        model, directory, sampler="beam", num_beams=3, max_caption_length=8, text_pair=True
    )
    return directory


@pytest.fixture(scope="session")
def served(directory):
    return tf.saved_model.load(str(directory / "1"))
