"""Every layer on its own."""

import functools

import keras
import numpy as np
import pytest

from official_coca.errors import InvalidInputError
from official_coca.layers.attention import CrossAttention, SelfAttention
from official_coca.layers.activations import get_activation, quick_gelu
from official_coca.layers.attention_masks import (
    causal_mask,
    causal_mask_with_class_token,
    mark_visible,
)
from official_coca.layers.attentional_pooler import AttentionalPooler
from official_coca.layers.image_encoder import ImageEncoder
from official_coca.layers.layer_normalization import LayerNormalization
from official_coca.layers.multimodal_decoder import MultimodalDecoder
from official_coca.layers.patch_embed import PatchEmbed
from official_coca.layers.rows import apply_to_rows
from official_coca.layers.text_embed import TextEmbed
from official_coca.layers.transformer_block import TransformerBlock
from official_coca.layers.unimodal_decoder import UnimodalDecoder
from tests.layers.layer_test_case import run_layer_test

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(2, 6, 16)).astype("float32")
CONTEXT = RNG.normal(size=(2, 5, 24)).astype("float32")
IMAGES = RNG.normal(size=(2, 8, 12, 3)).astype("float32")
TOKEN_IDS = np.array([[2, 5, 6, 0], [2, 7, 8, 9]], "int32")


@pytest.mark.parametrize(
    ("layer", "inputs", "shapes"),
    [
        (functools.partial(LayerNormalization, 1e-5), (FEATURES,), (2, 6, 16)),
        (functools.partial(SelfAttention, 4), (FEATURES,), (2, 6, 16)),
        (functools.partial(SelfAttention, 4, use_bias=True), (FEATURES,), (2, 6, 16)),
        (functools.partial(CrossAttention, 2), (FEATURES, CONTEXT), (2, 6, 16)),
        (functools.partial(TransformerBlock, 4, 32), (FEATURES,), (2, 6, 16)),
        (
            functools.partial(TransformerBlock, 4, 32, cross_attention=True),
            (FEATURES, CONTEXT),
            (2, 6, 16),
        ),
        (functools.partial(PatchEmbed, 16, 4, (8, 12)), (IMAGES,), (2, 6, 16)),
        (
            functools.partial(PatchEmbed, 16, (4, 6), (8, 12), use_class_token=True),
            (IMAGES,),
            (2, 5, 16),
        ),
        (functools.partial(ImageEncoder, 2, 16, 4, 32, 4, (8, 12)), (IMAGES,), (2, 6, 16)),
        (functools.partial(AttentionalPooler, 3, 2, 8), (CONTEXT,), (2, 3, 8)),
        (functools.partial(TextEmbed, 20, 16, 6), (TOKEN_IDS,), (2, 4, 16)),
        (
            functools.partial(UnimodalDecoder, 20, 2, 16, 4, 32, 6),
            (TOKEN_IDS,),
            ((2, 16), (2, 4, 16)),
        ),
    ],
)
def test_layer_serialises_builds_compiles_and_runs_in_bfloat16(layer, inputs, shapes):
    run_layer_test(layer, inputs, shapes)


@pytest.mark.parametrize("separate_cross_attention_mlp", [False, True])
def test_multimodal_decoder_projects_to_float32_logits(separate_cross_attention_mlp):
    decoder = MultimodalDecoder(
        20,
        2,
        16,
        4,
        32,
        separate_cross_attention_mlp=separate_cross_attention_mlp,
        dtype="mixed_bfloat16",
    )
    logits = decoder.project(decoder(FEATURES, CONTEXT))
    assert logits.shape == (2, 6, 20) and logits.dtype == "float32"
    mlps = sum("mlp_hidden/kernel" in weight.path for weight in decoder.weights)
    assert mlps == (4 if separate_cross_attention_mlp else 2)


def test_tied_decoder_projects_with_the_token_table():
    decoder = MultimodalDecoder(20, 1, 16, 4, 32, tie_embeddings=True)
    features = decoder(FEATURES, CONTEXT)
    table = RNG.normal(size=(20, 16)).astype("float32")
    np.testing.assert_allclose(
        decoder.project(features, table), np.asarray(features) @ table.T, atol=1e-5
    )
    assert not any("vocabulary" in weight.path for weight in decoder.weights)


def test_attention_equals_a_plain_numpy_softmax():
    layer = SelfAttention(2)
    layer.build((None, 6, 16))
    fused = FEATURES @ np.asarray(layer.query_key_value.kernel)
    query, key, value = np.split(fused, 3, axis=-1)
    heads = []
    for head in range(2):
        part = slice(8 * head, 8 * head + 8)
        scores = query[..., part] @ key[..., part].swapaxes(1, 2) / np.sqrt(8)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        heads.append(weights / weights.sum(-1, keepdims=True) @ value[..., part])
    expected = np.concatenate(heads, -1) @ np.asarray(layer.output_projection.kernel)
    np.testing.assert_allclose(layer(FEATURES), expected, atol=1e-5)


def test_fused_projections_start_with_the_variance_of_separate_ones():
    layer = SelfAttention(4)
    layer.build((None, None, 256))
    fused = np.asarray(layer.query_key_value.kernel)
    assert abs(fused.var() * 256 - 1) < 0.05  # Glorot of a (256, 256) matrix: 2 / (256 + 256)


def test_block_without_context_skips_cross_attention():
    with_cross = TransformerBlock(4, 32, cross_attention=True)
    with_cross.build(FEATURES.shape, CONTEXT.shape)
    plain = TransformerBlock(4, 32)
    plain.build(FEATURES.shape)
    plain.set_weights(
        [np.asarray(weight) for weight in with_cross.weights if "cross" not in weight.path]
    )
    np.testing.assert_allclose(with_cross(FEATURES), plain(FEATURES), atol=1e-6)
    assert np.abs(with_cross(FEATURES, CONTEXT) - plain(FEATURES)).max() > 1e-3


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 0.02)])
def test_layer_normalization_equals_that_of_keras(dtype, tolerance):
    ours = LayerNormalization(1e-5, dtype=dtype)
    theirs = keras.layers.LayerNormalization(epsilon=1e-5, dtype=dtype)
    weights = RNG.normal(size=(2, 16)).astype("float32")
    for layer in (ours, theirs):
        layer.build(FEATURES.shape)
        layer.set_weights(list(weights))
    assert [weight.path.split("/")[-1] for weight in ours.weights] == ["gamma", "beta"]
    assert ours(FEATURES).dtype == theirs(FEATURES).dtype
    np.testing.assert_allclose(
        np.asarray(ours(FEATURES), "float32"),
        np.asarray(theirs(FEATURES), "float32"),
        atol=tolerance,
        rtol=tolerance,
    )


def test_layer_normalization_does_not_lose_a_small_spread_beside_a_large_mean():
    layer = LayerNormalization(1e-5)
    layer.build(FEATURES.shape)
    x = 4096 + FEATURES.astype("float64")
    exact = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(layer(x.astype("float32")), exact, atol=3e-3)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (2, 5, 3, 4), (0, 3, 4)])
def test_dense_on_rows_equals_dense_on_tensors(shape):
    dense = keras.layers.Dense(6, activation="gelu", bias_initializer="normal")
    dense.build((None, 4))
    x = RNG.normal(size=shape).astype("float32")
    rows = apply_to_rows(dense, x)
    assert rows.shape == (*shape[:-1], 6)
    np.testing.assert_allclose(rows, dense(x), atol=1e-6)


@pytest.mark.parametrize("class_token_mask", ["paper", "open_clip"])
@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_class_token_features_equal_those_of_a_full_call(num_layers, class_token_mask):
    decoder = UnimodalDecoder(20, num_layers, 16, 4, 32, 6, class_token_mask=class_token_mask)
    class_features, _ = decoder(TOKEN_IDS)
    np.testing.assert_allclose(
        decoder.class_token_features(TOKEN_IDS), class_features, atol=1e-5
    )


def test_one_decoding_step_writes_its_place_of_the_cache_only():
    layer = SelfAttention(4)
    layer.build((None, None, 16))
    cache = tuple(RNG.normal(size=(2, 4, 5, 4)).astype("float32") for _ in range(2))
    _, written = layer.decode_step(FEATURES[:, :1], cache, 3)
    _, *expected = np.split(FEATURES[:, 0] @ np.asarray(layer.query_key_value.kernel), 3, axis=-1)
    for before, after, entry in zip(cache, written, expected):
        np.testing.assert_allclose(after[:, :, 3], entry.reshape(2, 4, 4), atol=1e-5)
        np.testing.assert_array_equal(np.delete(after, 3, axis=2), np.delete(before, 3, axis=2))


def test_beams_share_the_context_of_their_example():
    layer = CrossAttention(2)
    layer.build(FEATURES.shape, CONTEXT.shape)
    beams = RNG.normal(size=(2 * 3, 1, 16)).astype("float32")
    shared = layer.attend_to(beams, layer.project_context(CONTEXT))
    repeated = layer(beams, np.repeat(CONTEXT, 3, axis=0))
    np.testing.assert_allclose(shared, repeated, atol=1e-6)


def test_causal_mask_sees_only_itself_and_the_past():
    np.testing.assert_array_equal(causal_mask(3), np.tril(np.ones((3, 3), bool)))


def test_class_token_sees_every_real_token_and_no_padding():
    mask = np.asarray(causal_mask_with_class_token(np.array([[True, True, False]])))[0, 0]
    np.testing.assert_array_equal(
        mask,
        [
            [True, False, False, False],
            [True, True, False, False],
            [True, True, False, False],  # padding; nothing reads it
            [True, True, False, True],  # the class token
        ],
    )


def test_open_clip_mask_hides_one_place_too_far_to_the_right():
    is_token = np.array([[True, True, False, False]])
    mask = np.asarray(causal_mask_with_class_token(is_token, "open_clip"))[0, 0]
    np.testing.assert_array_equal(
        mask[[1, 4]],
        [
            [True, True, False, False, False],
            [True, True, True, False, False],  # the class token: the first padding, not itself
        ],
    )


@pytest.mark.parametrize("kind", ["paper", "open_clip"])
def test_step_by_step_visibility_equals_the_mask(kind):
    is_token = np.array([[True, False, True, True, False], [True] * 5])
    mask = np.asarray(causal_mask_with_class_token(is_token, kind))[:, 0]
    visible = np.ones((2, 6), bool)
    for index in range(5):
        visible = mark_visible(visible, is_token[:, index : index + 1], index, kind)
        seen = np.asarray(visible)[:, : index + 1]
        np.testing.assert_array_equal(seen, mask[:, index, : index + 1])


def test_quick_gelu_equals_its_definition():
    x = np.linspace(-4, 4, 9, dtype="float32")
    np.testing.assert_allclose(quick_gelu(x), x / (1 + np.exp(-1.702 * x)), atol=1e-6)


def test_unknown_activation_is_named():
    with pytest.raises(InvalidInputError, match="activation 'quick' is unknown"):
        get_activation("quick")


def test_patches_equal_a_strided_convolution():
    import tensorflow as tf

    layer = PatchEmbed(16, 4, (8, 12))
    layer.build()
    kernel = tf.reshape(layer.projection.kernel, (4, 4, 3, 16))
    convolved = tf.nn.conv2d(IMAGES, kernel, strides=4, padding="VALID")
    expected = tf.reshape(convolved + layer.position_embedding, (2, 6, 16))
    np.testing.assert_allclose(layer(IMAGES), expected, atol=1e-5)


def test_positions_are_resized_for_another_resolution():
    layer = PatchEmbed(16, 4, 8)
    layer.build()
    ramp = np.tile(np.arange(2, dtype="float32")[:, None, None], (1, 2, 16))
    layer.position_embedding.assign(ramp)
    embedded = np.asarray(layer(np.zeros((1, 16, 24, 3), "float32"))).reshape(4, 6, 16)
    assert np.all(np.diff(embedded[:, 0, 0]) >= 0) and embedded[0, 0, 0] < embedded[-1, 0, 0]
    np.testing.assert_allclose(embedded[:, 0], embedded[:, 5], atol=1e-6)


def test_image_that_does_not_divide_into_patches_is_refused():
    layer = PatchEmbed(16, 4, 8)
    layer.build()
    with pytest.raises(InvalidInputError, match="10x8 pixels .* patches of 4x4"):
        layer(np.zeros((1, 10, 8, 3), "float32"))


def test_caption_longer_than_the_positions_is_refused():
    layer = TextEmbed(20, 16, 3)
    layer.build()
    with pytest.raises(InvalidInputError, match="4 tokens is longer than max_length=3"):
        layer(TOKEN_IDS)


def test_width_that_does_not_divide_into_heads_is_refused():
    with pytest.raises(InvalidInputError, match="width 16 .* num_heads=3"):
        SelfAttention(3).build((None, None, 16))
