"""CoCa's behaviour, from its masks to its learning."""

import keras
import numpy as np
import pytest

from official_coca.errors import InvalidInputError
from official_coca.models.coca import CoCa
from official_coca.models.protocols import Captioner, DualEncoder
from tests.tiny_models import (
    MAX_LENGTH,
    random_captions,
    random_images,
    tiny_coca,
    training_batch,
)

POOLERS = ("cascade", "parallel", "shared")


@pytest.fixture(scope="module")
def model():
    return tiny_coca()


@pytest.mark.parametrize("pooler", POOLERS)
def test_outputs_are_unit_embeddings_and_full_logits(pooler):
    model = tiny_coca(pooler=pooler)
    outputs = model({"images": random_images(3), "token_ids": random_captions([4, 10, 7])})
    assert outputs["logits"].shape == (3, MAX_LENGTH, 40)
    for name in ("image_embedding", "text_embedding"):
        assert outputs[name].shape == (3, 16) and outputs[name].dtype == "float32"
        np.testing.assert_allclose(np.linalg.norm(outputs[name], axis=1), 1, atol=1e-5)


def test_cascade_reads_the_generative_pooler_and_parallel_the_encoder():
    images = random_images(2)
    for pooler, source_width in (("cascade", 16), ("parallel", 24)):
        model = tiny_coca(pooler=pooler)
        assert model.contrastive_pooler.attend.key_value.kernel.shape[0] == source_width
        features = model.image_encoder(images)
        tokens = model.generative_pooler(features)
        pooled = model.contrastive_pooler(tokens if pooler == "cascade" else features)[:, 0]
        np.testing.assert_allclose(
            model.encode_image(images), keras.ops.normalize(pooled), atol=1e-5
        )


def test_shared_pooler_gives_its_first_query_to_the_contrastive_side():
    model = tiny_coca(pooler="shared")
    pooled = model.generative_pooler(model.image_encoder(random_images(2)))
    embedding, tokens = model.image_features(random_images(2))
    np.testing.assert_allclose(embedding, keras.ops.normalize(pooled[:, 0]), atol=1e-6)
    np.testing.assert_allclose(tokens, pooled[:, 1:], atol=1e-6)
    assert model.contrastive_pooler is None


def test_future_tokens_do_not_change_past_logits(model):
    images, token_ids = random_images(2), random_captions([10, 10])
    changed = token_ids.copy()
    changed[:, 6:] = 5
    before = model({"images": images, "token_ids": token_ids})["logits"]
    after = model({"images": images, "token_ids": changed})["logits"]
    np.testing.assert_allclose(before[:, :6], after[:, :6], atol=1e-6)
    assert np.abs(before[:, 6:] - after[:, 6:]).max() > 1e-2


def test_padding_changes_no_embedding_and_no_logit(model):
    images, long = random_images(2), random_captions([4, 5])
    short = long[:, :5]
    padded = model({"images": images, "token_ids": long})
    trimmed = model({"images": images, "token_ids": short})
    np.testing.assert_allclose(padded["text_embedding"], trimmed["text_embedding"], atol=1e-6)
    np.testing.assert_allclose(padded["logits"][:, :5], trimmed["logits"], atol=1e-5)


def test_class_token_sees_every_real_token(model):
    token_ids = random_captions([7])
    reference = np.asarray(model.encode_text(token_ids))
    for position in range(7):
        changed = token_ids.copy()
        changed[0, position] = changed[0, position] % 30 + 5
        assert np.abs(model.encode_text(changed) - reference).max() > 1e-4


def test_text_features_ignore_the_class_token():
    model = tiny_coca()
    token_ids = random_captions([7, 10])
    before = np.asarray(model.text_features(token_ids)[1])
    model.unimodal_decoder.class_token.assign_add(np.ones(16))
    np.testing.assert_allclose(model.text_features(token_ids)[1], before, atol=1e-6)


def test_text_embedding_needs_no_image_and_image_embedding_no_text(model):
    images, token_ids = random_images(2), random_captions([4, 9])
    outputs = model({"images": images, "token_ids": token_ids})
    np.testing.assert_allclose(model.encode_image(images), outputs["image_embedding"], atol=1e-6)
    np.testing.assert_allclose(model.encode_text(token_ids), outputs["text_embedding"], atol=1e-6)


def test_other_resolutions_run_and_the_own_one_is_not_resized(model):
    assert model.encode_image(random_images(2, 16, 16)).shape == (2, 16)
    assert model({"images": random_images(1, 4, 20), "token_ids": random_captions([5])})


def test_parallel_pooler_without_captions_equals_a_clip_style_model():
    model = tiny_coca(pooler="parallel", captioning_loss_weight=0.0)
    x, targets, weights = training_batch([5, 8, 3])
    losses, measurements = model.compute_losses(x, targets, weights)
    assert set(losses) == {"contrastive_loss"}
    image = model.contrastive_pooler(model.image_encoder(x["images"]))[:, 0]
    text = model.unimodal_decoder(x["token_ids"])[0]
    similarities = np.asarray(keras.ops.normalize(image) @ keras.ops.transpose(
        keras.ops.normalize(text)
    )) / np.exp(float(model.log_temperature))
    def cross_entropy(x):
        return -np.mean(np.diag(x) - np.log(np.exp(x).sum(1)))
    expected = cross_entropy(similarities) + cross_entropy(similarities.T)
    np.testing.assert_allclose(losses["contrastive_loss"], expected, rtol=1e-5)
    assert "captioning_loss" not in measurements


@pytest.mark.parametrize("pooler", POOLERS)
def test_projecting_real_tokens_only_equals_the_full_projection(pooler):
    model = tiny_coca(pooler=pooler)
    x, targets, weights = training_batch([2, 10, 6])
    some, _ = model.compute_losses(x, targets, weights, real_tokens_only=True)
    full, _ = model.compute_losses(x, targets, weights, real_tokens_only=False)
    logits = np.asarray(model(x)["logits"])
    log_likelihood = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    picked = np.take_along_axis(log_likelihood, targets[..., None], axis=-1)[..., 0]
    expected = -(picked * weights).sum() / weights.sum()
    np.testing.assert_allclose(some["captioning_loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(full["captioning_loss"], expected, rtol=1e-5)


def test_zero_loss_weights_skip_the_parts_they_do_not_need(monkeypatch):
    x, targets, weights = training_batch([2, 10, 6])

    def forbid(part):
        def call(*args, **kwargs):
            raise AssertionError(f"{part.name} ran")

        monkeypatch.setattr(part, "call", call)

    contrastive_only = tiny_coca(captioning_loss_weight=0.0, pooler="parallel")
    forbid(contrastive_only.multimodal_decoder)
    forbid(contrastive_only.generative_pooler)
    assert set(contrastive_only.compute_losses(x, targets, weights)[0]) == {"contrastive_loss"}
    captioning_only = tiny_coca(contrastive_loss_weight=0.0)
    forbid(captioning_only.contrastive_pooler)
    assert set(captioning_only.compute_losses(x, targets, weights)[0]) == {"captioning_loss"}


def test_temperature_starts_as_asked_and_has_a_gradient():
    import tensorflow as tf

    model = tiny_coca(initial_temperature=0.2)
    np.testing.assert_allclose(model.temperature, 0.2, rtol=1e-6)
    x, targets, weights = training_batch([5, 8, 3])
    with tf.GradientTape() as tape:
        loss = model.compute_losses(x, targets, weights)[0]["contrastive_loss"]
    assert abs(float(tape.gradient(loss, model.log_temperature.value))) > 1e-3


def test_same_text_positives_forgive_images_that_share_a_caption():
    x, targets, weights = training_batch([6, 6, 6])
    x["token_ids"][1] = x["token_ids"][0]
    pair = tiny_coca(positives="pair").compute_losses(x, targets, weights)[1]
    same = tiny_coca(positives="same_text").compute_losses(x, targets, weights)[1]
    same_hits = np.asarray(same["image_to_text_accuracy"].values)
    pair_hits = np.asarray(pair["image_to_text_accuracy"].values)
    assert np.all(same_hits >= pair_hits)
    different = np.asarray(same["contrastive_loss"].values) - pair["contrastive_loss"].values
    assert np.abs(different[:2]).max() > 1e-3 and abs(different[2]) < 1e-5


def test_pooled_attention_is_a_distribution_over_patches():
    for pooler in POOLERS:
        for use_class_token in (False, True):
            model = tiny_coca(pooler=pooler, use_class_token=use_class_token)
            attention = np.asarray(model.pooled_attention(random_images(2)))
            assert attention.shape == (2, 2, 6) and attention.min() >= 0
            np.testing.assert_allclose(attention.sum(-1), 1, atol=1e-5)


def test_model_satisfies_the_protocols(model):
    assert isinstance(model, DualEncoder) and isinstance(model, Captioner)


def test_parts_are_named_in_weight_paths(model):
    parts = {weight.path.split("/")[1] for weight in model.weights if weight.path.count("/") > 1}
    assert parts == {
        "image_encoder",
        "generative_pooler",
        "contrastive_pooler",
        "unimodal_decoder",
        "multimodal_decoder",
    }


def test_embedding_dim_projects_both_sides():
    model = tiny_coca(embedding_dim=8)
    assert model.encode_image(random_images(2)).shape == (2, 8)
    assert model.encode_text(random_captions([3, 4])).shape == (2, 8)


def _millions(*layers):
    parameters = sum(int(np.prod(weight.shape)) for layer in layers for weight in layer.weights)
    return round(parameters / 1e6)


def _without_memory(preset):
    """The architecture with variables that are never filled, so that no memory is needed."""
    with keras.StatelessScope(initialize_variables=False):
        return CoCa.from_preset(preset, load_weights=False)


@pytest.mark.parametrize(
    ("preset", "encoder", "decoder"), [("coca_base", 86, 297), ("coca_large", 303, 484)]
)
def test_sizes_match_the_paper(preset, encoder, decoder):
    model = _without_memory(preset)
    assert _millions(model.image_encoder) == encoder
    assert _millions(model.unimodal_decoder, model.multimodal_decoder) == decoder


def test_giant_matches_the_paper():
    model = _without_memory("coca_giant")
    assert round(_millions(model) / 1000, 1) == 2.1
    assert round(_millions(model.image_encoder) / 1000, 1) == 1.0
    decoder = _millions(model.unimodal_decoder, model.multimodal_decoder)
    assert round(decoder / 1000, 1) == 1.1


def test_preset_without_weights_warns_and_insisting_on_them_raises():
    with pytest.warns(UserWarning, match="no trained weights"):
        CoCa.from_preset("coca_tiny")
    with pytest.raises(InvalidInputError, match="without trained weights"):
        CoCa.from_preset("coca_tiny", load_weights=True)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"pooler": "mean"}, "pooler='mean' is unknown; choose one of cascade, parallel, shared"),
        ({"positives": "all"}, "positives='all' is unknown"),
        ({"captioning_loss_weight": -1.0}, "must not be negative"),
        (
            {"captioning_loss_weight": 0.0, "contrastive_loss_weight": 0.0},
            "are both 0: nothing would be learned",
        ),
        ({"image_size": 30}, "30x30 pixels does not divide into patches"),
        ({"text_num_heads": 3}, "num_heads=3"),
    ],
)
def test_bad_arguments_name_themselves(overrides, message):
    with pytest.raises(InvalidInputError, match=message):
        tiny_coca(**overrides)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((8, 12, 3), "float32"), "add a batch axis"),
        (np.zeros((2, 8, 12, 4), "float32"), r"expected \(B, H, W, 3\)"),
        (np.zeros((2, 8, 12, 3), "int64"), "dtype int64"),
        (np.zeros((2, 8, 12, 3), "uint8"), "uint8 images but the model has no preprocessor"),
        ([b"not an image"], "encoded images but the model has no preprocessor"),
        ([], "empty list"),
        (np.zeros((2, 9, 12, 3), "float32"), "9x12 pixels does not divide into patches of 4x4"),
    ],
)
def test_bad_images_name_the_fault_and_the_remedy(model, images, message):
    with pytest.raises(InvalidInputError, match=message):
        model.encode_image(images)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (np.zeros((1, MAX_LENGTH + 1), "int32"), "longer than max_length=10"),
        (np.zeros((4,), "int32"), r"pass ints \(B, L\)"),
        (["a cat"], "strings but the model has no preprocessor"),
        ("a cat", "pass a list of strings"),
    ],
)
def test_bad_texts_name_the_fault_and_the_remedy(model, texts, message):
    with pytest.raises(InvalidInputError, match=message):
        model.encode_text(texts)
