"""`official_coca.load` takes presets and SavedModels from wherever they are."""

import os
import pathlib
import shutil

import pytest
import tensorflow as tf

import official_coca
from official_coca.errors import InvalidInputError
from official_coca.saving import handles


def test_saved_model_is_found_by_version_and_by_parent(directory):
    for path in (directory, directory / "1"):
        served = official_coca.load(str(path))
        assert served.encode_text(tf.constant(["a cat"]))["text_embedding"].shape == (1, 16)


def test_preset_becomes_a_model(model, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    assert isinstance(official_coca.load(tmp_path / "preset"), official_coca.CoCa)


@pytest.mark.parametrize("handle", ["hf://someone/coca", "kaggle://someone/coca/tensorFlow2/tiny"])
def test_hubs_are_asked(directory, monkeypatch, handle):
    asked = []
    monkeypatch.setattr(
        handles, "_download", lambda handle, *_: asked.append(handle) or directory
    )
    assert official_coca.load(handle).encode_text is not None
    assert set(asked) == {handle}


def test_handle_with_nothing_in_it_is_named(tmp_path):
    with pytest.raises(InvalidInputError, match="neither a preset"):
        official_coca.load(tmp_path)
    with pytest.raises(InvalidInputError, match="unknown preset"):
        official_coca.load("no/such/place")


def test_damaged_saved_model_is_named(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        official_coca.load(tmp_path)


def test_saved_model_with_weights_cut_off_is_named(directory, tmp_path):
    shutil.copytree(directory / "1", tmp_path / "1")
    os.truncate(tmp_path / "1/variables/variables.data-00000-of-00001", 1000)
    with pytest.raises(InvalidInputError, match="1 cannot be read: .* 1000 bytes of data"):
        official_coca.load(tmp_path)


@pytest.mark.parametrize("damage", ["saved_model.pb", "variables/variables.index"])
def test_newest_version_that_is_whole_is_loaded(directory, tmp_path, damage):
    for version in ("1", "2"):
        shutil.copytree(directory / "1", tmp_path / version)
    (tmp_path / "2" / damage).write_bytes(b"")
    assert official_coca.load(tmp_path).encode_text is not None
    (tmp_path / "1" / damage).write_bytes(b"")
    with pytest.raises(InvalidInputError, match="2 cannot be read"):
        official_coca.load(tmp_path)


def test_open_clip_checkpoint_becomes_a_model():
    checkpoint = pathlib.Path(__file__).resolve().parents[1] / "fixtures/open_clip/shared_pooler"
    with pytest.warns(UserWarning, match="no tokenizer files"):
        assert official_coca.load(checkpoint).vocabulary_size == 60
