"""Checkpoints that open_clip wrote: same numbers, and one clear line for what is no CoCa."""

import json
import pathlib
import pickle
import shutil
import types

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from official_coca.errors import InvalidInputError
from official_coca.models.coca import CoCa
from official_coca.models.open_clip_config import coca_arguments
from official_coca.saving import tensor_files

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "open_clip"
GEOMETRIES = sorted(path.name for path in FIXTURES.iterdir())
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def loaded():
    """(model, what open_clip computed) of a geometry, loaded once."""
    kept = {}

    def load(name):
        if name not in kept:
            model = CoCa.from_preset(FIXTURES / name, preprocessor=None)
            kept[name] = model, dict(np.load(FIXTURES / name / "expected.npz"))
        return kept[name]

    return load


@pytest.fixture
def checkpoint(tmp_path):
    return shutil.copytree(FIXTURES / "shared_pooler", tmp_path / "checkpoint")


@pytest.mark.parametrize("name", GEOMETRIES)
def test_embeddings_image_tokens_and_logits_equal_open_clip(loaded, name):
    model, expected = loaded(name)
    outputs = model({"images": expected["images"], "token_ids": expected["token_ids"]})
    outputs["image_tokens"] = model.image_features(expected["images"])[1]
    for output in ("image_embedding", "text_embedding", "image_tokens", "logits"):
        np.testing.assert_allclose(outputs[output], expected[output], atol=1e-4, err_msg=output)
    assert float(model.temperature) == pytest.approx(1 / expected["logit_scale"], rel=1e-5)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_class_token_stands_behind_short_texts_as_in_open_clip(loaded, name):
    model, expected = loaded(name)
    short = model.text_features(expected["token_ids"][:, :5])[0]
    np.testing.assert_allclose(short, expected["short_text_embedding"], atol=1e-4)


@pytest.mark.parametrize(
    "name", ["shared_pooler", "no_text_projection_and_other_padding",
             "cascade_pooler_and_corrected_mask"]
)  # fmt: skip
def test_cached_decoding_equals_full_forward_with_padding_inside_a_text(loaded, name):
    model, expected = loaded(name)
    token_ids = expected["token_ids"]
    cache = model.init_cache(expected["images"], token_ids.shape[1])
    for index in range(token_ids.shape[1]):
        logits, cache = model.decode_step(token_ids[:, index : index + 1], cache, index)
        np.testing.assert_allclose(logits, expected["logits"][:, index], atol=1e-4)


def test_parameters_are_those_of_the_checkpoint(loaded):
    model, _ = loaded("shared_pooler")
    tensors = load_file(FIXTURES / "shared_pooler" / WEIGHTS)
    assert model.count_params() == sum(tensor.size for tensor in tensors.values())


def test_corrected_mask_is_an_option(loaded):
    model, expected = loaded("shared_pooler")
    corrected = CoCa.from_preset(
        FIXTURES / "shared_pooler", preprocessor=None, class_token_mask="paper"
    )
    full, padded = expected["token_ids"][:1], expected["token_ids"][1:2]
    trained, repaired = (m.text_features(padded)[0] for m in (model, corrected))
    assert np.abs(trained - repaired).max() > 1e-3
    np.testing.assert_allclose(model.text_features(full)[0], corrected.text_features(full)[0],
                               atol=1e-6)  # fmt: skip


def test_architecture_alone_needs_no_weights(checkpoint):
    (checkpoint / WEIGHTS).unlink()
    model = CoCa.from_preset(checkpoint, load_weights=False, preprocessor=None)
    assert model.pooler == "shared" and model.vocabulary_size == 60
    with pytest.raises(InvalidInputError, match="has no weights"):
        CoCa.from_preset(checkpoint, preprocessor=None)


def test_converted_checkpoint_computes_the_same_from_our_own_files(loaded, tmp_path):
    model, expected = loaded("quick_gelu_and_layer_scale")
    model.save_to_preset(tmp_path / "preset")
    again = CoCa.from_preset(tmp_path / "preset")
    inputs = {"images": expected["images"], "token_ids": expected["token_ids"]}
    np.testing.assert_array_equal(again(inputs)["logits"], model(inputs)["logits"])


def test_half_precision_weights_are_read(loaded, checkpoint):
    tensors = load_file(checkpoint / WEIGHTS)
    save_file({name: t.astype("float16") for name, t in tensors.items()}, checkpoint / WEIGHTS)
    model = CoCa.from_preset(checkpoint, preprocessor=None)
    expected = loaded("shared_pooler")[1]
    image_embedding = model.image_features(expected["images"])[0]
    np.testing.assert_allclose(image_embedding, expected["image_embedding"], atol=0.02)


def test_buffers_of_older_releases_are_passed_over(checkpoint):
    tensors = load_file(checkpoint / WEIGHTS)
    buffers = {"text.attn_mask": np.zeros((13, 13), "float32"), "text.position_ids": np.arange(13)}
    save_file({**tensors, **buffers}, checkpoint / WEIGHTS)
    CoCa.from_preset(checkpoint, preprocessor=None)


def _change_config(checkpoint, change):
    path = checkpoint / "open_clip_config.json"
    config = json.loads(path.read_text())
    change(config["model_cfg"])
    path.write_text(json.dumps(config))


def _change_weights(checkpoint, change):
    tensors = load_file(checkpoint / WEIGHTS)
    change(tensors)
    save_file(tensors, checkpoint / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("multimodal_cfg"), "describes no CoCa"),
        (lambda c: c.pop("text_cfg"), "no text_cfg"),
        (lambda c: c.pop("embed_dim"), "no embed_dim"),
        (lambda c: c["vision_cfg"].update(timm_model_name="vit"), "vision_cfg.timm_model_name='vit'"),
        (lambda c: c["vision_cfg"].update(layers=[2, 2, 6, 2]), "ResNet"),
        (lambda c: c["vision_cfg"].update(attentional_pool="serial"), "attentional_pool='serial'"),
        (lambda c: c["text_cfg"].update(hf_model_name="roberta-base"), "hf_model_name='roberta-base'"),
        (lambda c: c["text_cfg"].update(text_arch="modern"), "text_cfg.text_arch='modern'"),
        (lambda c: c["text_cfg"].update(embed_cls=False), "text_cfg.embed_cls=False"),
        (lambda c: c["vision_cfg"].update(pool_type="avg"), "vision_cfg.pool_type=.avg."),
        (lambda c: c["multimodal_cfg"].update(width=24), "multimodal_cfg.width=24 differs"),
    ],
)
def test_configuration_that_is_not_built_here_is_named(checkpoint, change, message):
    _change_config(checkpoint, change)
    with pytest.raises(InvalidInputError, match=message):
        CoCa.from_preset(checkpoint, preprocessor=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("visual.proj"), r"no tensor 'visual.proj' of shape \(16, 16\)"),
        (
            lambda t: t.update({"visual.head": np.zeros(3, "float32")}),
            r"unknown tensor 'visual.head' of shape \(3,\)",
        ),
        (
            lambda t: t.update({"text.cls_emb": np.zeros(17, "float32")}),
            r"'text.cls_emb' .* has shape \(17,\), .* has \(16,\)",
        ),
    ],
)
def test_tensor_that_does_not_fit_is_named_with_its_shapes(checkpoint, change, message):
    _change_weights(checkpoint, change)
    with pytest.raises(InvalidInputError, match=message):
        CoCa.from_preset(checkpoint, preprocessor=None)


def test_truncated_safetensors_file_is_refused(checkpoint):
    whole = (checkpoint / WEIGHTS).read_bytes()
    for size in (len(whole) - 100, 1000, 5, 0):
        (checkpoint / WEIGHTS).write_bytes(whole[:size])
        with pytest.raises(InvalidInputError, match="not a whole safetensors file"):
            CoCa.from_preset(checkpoint, preprocessor=None)


def test_pickle_without_torch_says_how_to_get_on(checkpoint):
    (checkpoint / WEIGHTS).rename(checkpoint / "open_clip_pytorch_model.bin")
    with pytest.raises(InvalidInputError, match="pip install torch, then `coca convert`"):
        CoCa.from_preset(checkpoint, preprocessor=None)


def _torch_that_loads(monkeypatch, load):
    monkeypatch.setitem(__import__("sys").modules, "torch", types.SimpleNamespace(load=load))


def test_pickle_is_read_with_weights_only(checkpoint, loaded, monkeypatch):
    class Tensor:
        def __init__(self, array):
            self.array, self.shape = array, array.shape

        def detach(self):
            return self

        float = detach

        def numpy(self):
            return self.array

    tensors = load_file(checkpoint / WEIGHTS)
    (checkpoint / WEIGHTS).rename(checkpoint / "open_clip_pytorch_model.bin")

    def load(path, map_location, weights_only):
        assert weights_only is True and map_location == "cpu"
        state = {f"module.{name}": Tensor(tensor) for name, tensor in tensors.items()}
        return {"epoch": 3, "state_dict": state}

    _torch_that_loads(monkeypatch, load)
    model = CoCa.from_preset(checkpoint, preprocessor=None)
    expected = loaded("shared_pooler")[1]
    np.testing.assert_allclose(
        model.image_features(expected["images"])[0], expected["image_embedding"], atol=1e-4
    )


def test_pickle_with_code_is_refused_in_one_line(checkpoint, monkeypatch):
    def load(path, map_location, weights_only):
        raise pickle.UnpicklingError("Weights only load failed\nmany lines")

    path = checkpoint / "open_clip_pytorch_model.bin"
    (checkpoint / WEIGHTS).rename(path)
    _torch_that_loads(monkeypatch, load)
    with pytest.raises(InvalidInputError, match="holds more than tensors.*nothing of it") as caught:
        tensor_files.open_tensors(path)
    assert "\n" not in str(caught.value)


def _config_of_form(**sections):
    fixture = json.loads((FIXTURES / "shared_pooler" / "open_clip_config.json").read_text())
    model = fixture["model_cfg"]
    return {**model, **{name: {**model[name], **values} for name, values in sections.items()}}


def test_keys_that_open_clip_never_reads_change_nothing():
    plain = coca_arguments(_config_of_form(), "here")
    noisy = coca_arguments(
        _config_of_form(
            multimodal_cfg={"mlp_ratio": 3, "dim_head": 32, "n_queries": 9, "attn_pooler_heads": 5},
            vision_cfg={"patch_dropout": 0.5, "pool_type": "tok"},
        ),
        "here",
    )
    assert plain == noisy


def test_defaults_of_open_clip_fill_the_gaps():
    config = {"embed_dim": 512, "vision_cfg": {}, "text_cfg": {"embed_cls": True},
              "multimodal_cfg": {}}  # fmt: skip
    arguments = coca_arguments(config, "here")
    assert arguments["max_length"] == 77 and arguments["vocabulary_size"] == 49408
    assert arguments["image_hidden_dim"] == 768 and arguments["image_num_heads"] == 12
    assert arguments["bos_token_id"] == 49406 and arguments["eos_token_id"] == 49407


@pytest.mark.parametrize("name", GEOMETRIES)
def test_greedy_and_beam_token_ids_equal_open_clip(loaded, name):
    model, expected = loaded(name)
    length = expected["greedy"].shape[1]
    lengths = {"max_length": length, "min_length": min(5, length - 1)}
    greedy = model.generate(expected["images"], **lengths)
    np.testing.assert_array_equal(greedy, expected["greedy"])
    # One geometry with all beams: a search is compiled for each.
    searches = ((6, 3), (6, 1), (3, 1)) if name == "shared_pooler" else ((6, 3),)
    for num_beams, num_beam_groups in searches:
        written = model.generate(
            expected["images"],
            sampler="open_clip_beam",
            num_beams=num_beams,
            num_beam_groups=num_beam_groups,
            **lengths,
        )
        np.testing.assert_array_equal(written, expected[f"beams_{num_beams}_{num_beam_groups}"])


def test_own_beam_search_finds_likelier_captions_than_open_clip(loaded):
    model, expected = loaded("shared_pooler")
    images, length = expected["images"], expected["greedy"].shape[1]
    _, scores = model.generate(
        images, sampler="beam", num_beams=6, max_length=length, min_length=5, return_scores=True
    )
    logits = model({"images": images, "token_ids": expected["beams_6_1"][:, :-1]})["logits"]
    logits = np.asarray(logits)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    following = expected["beams_6_1"][:, 1:]
    theirs = np.take_along_axis(log_probabilities, following[..., None], axis=-1)[..., 0]
    ends = following == model.eos_token_id
    counted = np.cumsum(ends, axis=1) - ends == 0
    assert (scores >= (theirs * counted).sum(axis=1) - 1e-4).all()
