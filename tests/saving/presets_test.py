"""Presets and Keras files: what is loaded computes what was saved."""

import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from official_coca.errors import InvalidInputError
from official_coca.models.coca import CoCa
from official_coca.saving import presets
from tests.tiny_models import (
    encoded_images,
    random_captions,
    random_images,
    tiny_coca,
    tiny_preprocessor,
    training_batch,
)

LAYERS = {"image_num_layers": 1, "unimodal_num_layers": 1, "multimodal_num_layers": 1}
INPUTS = {"images": random_images(2), "token_ids": random_captions([4, 9])}


@pytest.fixture(scope="module")
def model():
    return tiny_coca(preprocessor=tiny_preprocessor(), pooler="parallel", **LAYERS)


@pytest.fixture
def preset(model, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    return tmp_path / "preset"


def _assert_same_outputs(left, right):
    left, right = left(INPUTS), right(INPUTS)
    for name in left:
        np.testing.assert_array_equal(left[name], right[name])


def test_preset_has_keras_hub_layout_and_round_trips(model, preset):
    files = sorted(str(path.relative_to(preset)) for path in preset.rglob("*") if path.is_file())
    assert files == [
        "assets/tokenizer/vocabulary.spm",
        "config.json",
        "metadata.json",
        "model.weights.h5",
        "preprocessor.json",
    ]
    assert json.loads((preset / "metadata.json").read_text())["parameter_count"] > 0
    loaded = CoCa.from_preset(str(preset))
    _assert_same_outputs(model, loaded)
    encoded = encoded_images(2)
    assert loaded.generate(encoded) == model.generate(encoded)


def test_saving_again_replaces_the_preset_and_keeps_other_files(model, preset):
    (preset / "model_card.md").write_text("ours")
    other = tiny_coca(seed=5, **LAYERS)
    other.save_to_preset(preset)
    _assert_same_outputs(other, CoCa.from_preset(preset))
    assert (preset / "model_card.md").read_text() == "ours"
    assert not (preset / "preprocessor.json").exists()
    assert [path.name for path in preset.parent.iterdir()] == ["preset"]


def test_architecture_alone_has_other_weights(model, preset):
    bare = CoCa.from_preset(preset, load_weights=False)
    assert bare.get_config()["pooler"] == "parallel"
    assert np.abs(bare(INPUTS)["logits"] - model(INPUTS)["logits"]).max() > 1e-3


def test_overrides_replace_arguments(preset):
    loaded = CoCa.from_preset(preset, positives="same_text", captioning_loss_weight=0.5)
    assert loaded.positives == "same_text" and loaded.captioning_loss_weight == 0.5
    with pytest.raises(InvalidInputError, match="does not have: widht"):
        CoCa.from_preset(preset, widht=3)


def test_keras_file_round_trips_with_preprocessor_and_optimizer(model, tmp_path):
    batch = training_batch([4, 9])
    model.compile(keras.optimizers.AdamW(1e-3))
    model.train_on_batch(*batch)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path)
    _assert_same_outputs(model, loaded)
    assert loaded.encode_text(["a cat"]).shape == (1, 16)
    assert int(loaded.optimizer.iterations) == int(model.optimizer.iterations)
    for each in (model, loaded):
        each.reset_metrics()
    assert model.train_on_batch(*batch) == loaded.train_on_batch(*batch)
    _assert_same_outputs(model, loaded)


@pytest.mark.parametrize("kind", ["preset", "keras"])
def test_new_process_needs_no_other_import_to_load(model, preset, tmp_path, kind):
    model.save(tmp_path / "model.keras")
    load = {
        "preset": f"official_coca.CoCa.from_preset({str(preset)!r})",
        "keras": f"official_coca.CoCa and keras.saving.load_model({str(tmp_path / 'model.keras')!r})",
    }
    code = f"import keras, official_coca; print({load[kind]}.encode_text(['a cat']).shape)"
    root = pathlib.Path(__file__).resolve().parents[2]
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert ran.stdout.strip() == "(1, 16)", ran.stderr


def test_weights_file_round_trips_into_an_unused_model(model, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = CoCa.from_config(model.get_config())
    fresh.load_weights(tmp_path / "model.weights.h5")
    _assert_same_outputs(model, fresh)


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5", "assets"])
def test_missing_part_of_a_preset_is_named(preset, name):
    path = preset / name
    path.rename(preset / "elsewhere")
    match = "vocabulary.spm" if name == "assets" else f"has no {name}"
    with pytest.raises(InvalidInputError, match=match):
        CoCa.from_preset(preset)


def test_broken_or_foreign_files_are_named(preset):
    (preset / "model.weights.h5").write_bytes(b"nothing")
    with pytest.raises(InvalidInputError, match="model.weights.h5 does not fit"):
        CoCa.from_preset(preset)
    (preset / "config.json").write_text("{")
    with pytest.raises(InvalidInputError, match="config.json is not valid JSON"):
        CoCa.from_preset(preset)
    (preset / "config.json").write_text(json.dumps({"registered_name": "keras_hub>CLIP"}))
    with pytest.raises(InvalidInputError, match="holds keras_hub>CLIP, not official_coca>CoCa"):
        CoCa.from_preset(preset)


def test_weights_of_another_size_are_refused(preset):
    with pytest.raises(InvalidInputError, match="does not fit the model"):
        CoCa.from_preset(preset, text_mlp_dim=48)


def test_unknown_preset_lists_the_known_ones():
    with pytest.raises(InvalidInputError, match="unknown preset 'coca_huge'.*coca_tiny, coca_base"):
        CoCa.from_preset("coca_huge")


def test_kill_while_saving_leaves_the_old_preset(model, preset, monkeypatch):
    def killed(path, value):
        raise KeyboardInterrupt

    monkeypatch.setattr(presets, "_write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        tiny_coca(seed=5, **LAYERS).save_to_preset(preset)
    _assert_same_outputs(model, CoCa.from_preset(preset))
