"""Few numbers are computed by other operations, which give the same."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_coca.layers import attention, shared_graph, without_one_dnn
from official_coca.layers.patch_embed import PatchEmbed
from official_coca.layers.transformer_block import TransformerBlock

REPLACED = {"BatchMatMul", "BatchMatMulV2", "Softmax", "Transpose"}
B, H, L, S, D = 2, 4, 5, 7, 16
RNG = np.random.default_rng(0)
WIDE = tf.constant(RNG.normal(size=(B, S, D)), tf.float32)


@pytest.fixture(params=["few", "many"])
def computed(request, monkeypatch):
    """Calls a function of few numbers, as such or as if they were many."""

    def call(function, *tensors):
        with monkeypatch.context() as patch:
            patch.setattr(shared_graph, "_GRAPHS", {})
            if request.param == "many":
                patch.setattr(without_one_dnn, "_LARGEST_PRODUCT", 0)
                patch.setattr(without_one_dnn, "_FEW_NUMBERS", 0)
            run = tf.function(lambda *tensors: function(*tensors))
            graph = run.get_concrete_function(*tensors).graph.as_graph_def()
            nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
            replaced = {node.op for node in nodes} & REPLACED
            assert bool(replaced) == (request.param == "many"), replaced
            return run(*tensors)

    return call


def test_attention_of_few_tokens_equals_softmax_of_products(computed):
    query, key, value = (
        tf.constant(RNG.normal(size=(B, H, length, D)), tf.float32) for length in (L, S, S)
    )
    mask = tf.constant(RNG.random((B, 1, L, S)) > 0.3) | tf.eye(L, S, dtype=tf.bool)
    scores = np.einsum("bhld,bhsd->bhls", query, key) / np.sqrt(D)
    weights = np.where(mask, np.exp(scores), 0)
    weights /= weights.sum(-1, keepdims=True)
    wanted = np.einsum("bhls,bhsd->bhld", weights, value)
    np.testing.assert_allclose(
        computed(attention.attend, query, key, value, mask), wanted, atol=1e-6
    )


@pytest.mark.parametrize("m, n", [(3, 8), (8, 3), (1, 8), (8, 1)])
def test_swapped_axes_are_those_of_numpy(m, n):
    x = RNG.normal(size=(B, m, n, D)).astype("float32")
    np.testing.assert_array_equal(without_one_dnn.swap_axes(x), np.swapaxes(x, 1, 2))


@pytest.mark.parametrize(
    "batch, num_queries, is_small",
    [(None, 1, True), (1, L, True), (4096, L, False), (None, L, False)],
)
def test_only_single_queries_and_small_batches_are_taken_from_one_dnn(batch, num_queries, is_small):
    query = keras.KerasTensor((batch, H, num_queries, D))
    shared_query = keras.KerasTensor((1, H, num_queries, D))
    key = keras.KerasTensor((batch, H, S, D))
    assert without_one_dnn.is_small_attention(query, key) == is_small
    assert without_one_dnn.is_small_attention(shared_query, key) == is_small


def test_gradients_through_few_numbers_equal_those_through_many(monkeypatch):
    block = TransformerBlock(num_heads=H, mlp_dim=8, cross_attention=True)
    block.build((B, L, D), (B, S, D))

    def gradients():
        x = WIDE[:, :L]
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(block(x, context=WIDE) ** 2)
        return tape.gradient(loss, [x, *(variable.value for variable in block.trainable_weights)])

    few = gradients()
    monkeypatch.setattr(without_one_dnn, "_LARGEST_PRODUCT", 0)
    monkeypatch.setattr(without_one_dnn, "_FEW_NUMBERS", 0)
    for one, other in zip(few, gradients()):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_patches_of_few_pixels_equal_those_of_many(computed):
    layer = PatchEmbed(D, 4, (8, 12))
    layer.build((None, 8, 12, 3))
    images = RNG.normal(size=(B, 8, 12, 3)).astype("float32")
    patches = [
        images[:, row : row + 4, column : column + 4].reshape(B, -1)
        for row in (0, 4)
        for column in (0, 4, 8)
    ]
    wanted = layer.projection(np.stack(patches, axis=1)) + layer.position_embedding.numpy().reshape(
        6, D
    )
    np.testing.assert_allclose(computed(layer, tf.constant(images)), wanted, atol=1e-5)


def test_a_decoding_step_has_no_operation_that_one_dnn_replaces_but_products_with_weights(computed):
    block = TransformerBlock(num_heads=H, mlp_dim=8, cross_attention=True)
    block.build((B, 1, D), (B, S, D))
    cache = block.self_attend.empty_cache(B, S)
    context = block.project_context(WIDE)

    def step(x, index):
        return block.decode_step(x, cache, context, index)[0]

    wanted = step(WIDE[:, :1], 0)
    np.testing.assert_allclose(computed(step, WIDE[:, :1], tf.constant(0)), wanted, atol=1e-5)
