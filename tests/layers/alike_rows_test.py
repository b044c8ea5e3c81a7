"""Every row of a group is computed in the same way."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_coca.layers import alike_rows
from official_coca.layers.rows import apply_to_rows, multiply_rows
from official_coca.layers.transformer_block import TransformerBlock
from tests.tiny_models import tiny_coca

RNG = np.random.default_rng(0)
# oneDNN takes the place of these, and orders their sums as it likes.
ONE_DNN = {"MatMul", "BatchMatMul", "BatchMatMulV2", "Softmax", "_FusedMatMul"}
CAPACITY = 7


def operations(graph):
    graph = graph.as_graph_def()
    return {
        node.op
        for nodes in (graph.node, *(function.node_def for function in graph.library.function))
        for node in nodes
    }


@pytest.mark.parametrize("width", [1, 2, 4, 8, 12, 64, 1000])
def test_these_widths_fill_registers(width):
    assert alike_rows.fills_registers(width)


@pytest.mark.parametrize("width", [3, 5, 6, 10, 999])
def test_these_widths_do_not(width):
    assert not alike_rows.fills_registers(width)


def test_rows_are_alike_within_the_scope_and_this_thread_only():
    elsewhere = []
    with pytest.raises(KeyError), alike_rows.alike_rows():
        with alike_rows.alike_rows():
            pass
        assert alike_rows.rows_are_alike()
        thread = threading.Thread(target=lambda: elsewhere.append(alike_rows.rows_are_alike()))
        thread.start()
        thread.join()
        raise KeyError
    assert elsewhere == [False] and not alike_rows.rows_are_alike()


@pytest.mark.parametrize(
    "kind", ["bias", "no bias", "gelu", "low rank weights", "int8", "other outputs"]
)
def test_alike_products_equal_the_ordinary_ones(kind):
    dense = keras.layers.Dense(
        20, use_bias=kind != "no bias", activation="gelu" if kind == "gelu" else None
    )
    dense.build((None, 12))
    if kind == "bias":
        dense.bias.assign(RNG.normal(size=20))
    if kind == "low rank weights":
        dense.enable_lora(2)
        dense.lora_kernel_b.assign(RNG.normal(size=(2, 20)))
    if kind == "int8":
        dense.quantize("int8")
    x = tf.constant(RNG.normal(size=(4, 1, 12)), tf.float32)
    ordinary = apply_to_rows(dense, x)
    with alike_rows.alike_rows():
        np.testing.assert_allclose(apply_to_rows(dense, x), ordinary, atol=1e-6)
    assert ordinary.shape == (4, 1, 20)


@pytest.mark.parametrize("transposed", [False, True])
def test_alike_products_with_a_matrix_equal_the_ordinary_ones(transposed):
    x = tf.constant(RNG.normal(size=(4, 1, 12)), tf.float32)
    kernel = tf.constant(RNG.normal(size=(20, 12) if transposed else (12, 20)), tf.float32)
    ordinary = multiply_rows(x, kernel, transposed)
    with alike_rows.alike_rows():
        np.testing.assert_allclose(multiply_rows(x, kernel, transposed), ordinary, atol=1e-6)


def test_a_block_within_the_scope_shares_no_graph_with_one_outside():
    block = TransformerBlock(2, 16)
    block.build((4, 3, 8))

    def both(x):
        with alike_rows.alike_rows():
            first = block(x)
        return first, block(x)

    def one(x):
        with alike_rows.alike_rows():
            return block(x)

    x = tf.TensorSpec((4, 3, 8), tf.float32)
    assert not operations(tf.function(one).get_concrete_function(x).graph) & ONE_DNN
    assert "MatMul" in operations(tf.function(both).get_concrete_function(x).graph)


@pytest.fixture(
    scope="module",
    params=[
        {"text_num_heads": 4, "text_hidden_dim": 64, "text_mlp_dim": 256},
        {
            "text_num_heads": 2,
            "text_hidden_dim": 200,
            "text_mlp_dim": 804,
            "vocabulary_size": 1004,
            "attention_bias": True,
            "normalize_context": True,
            "separate_cross_attention_mlp": True,
        },
        {"tie_embeddings": True, "activation": "quick_gelu", "multimodal_num_heads": 4},
    ],
    ids=["narrow", "wide", "tied"],
)
def model(request):
    return tiny_coca(**request.param)


def test_a_row_has_the_same_bits_at_every_place_and_beside_all_others(model):
    assert all(alike_rows.fills_registers(width) for width in model.decoding_widths)
    size = alike_rows.GROUP_SIZE
    contexts = model.image_cache(RNG.normal(size=(9, 8, 12, 3)).astype("float32"))
    token_ids = RNG.integers(4, 40, size=(9, CAPACITY)).astype("int32")

    @tf.function(autograph=False)
    def logits_of(contexts, token_ids):
        cache = {**model.token_cache(size, CAPACITY), **contexts}
        logits = []
        with alike_rows.alike_rows():
            for index in range(CAPACITY):
                step, cache = model.decode_step(token_ids[:, index : index + 1], cache, index)
                logits += [step, tf.nn.log_softmax(step)]
        return tf.stack(logits, axis=1)

    def of_rows(rows):
        of_group = tf.nest.map_structure(lambda part: tf.gather(part, rows), contexts)
        return logits_of(of_group, tf.gather(token_ids, rows)).numpy()

    alone = np.stack([of_rows([row] * size)[0] for row in range(9)])
    for _ in range(20):
        rows = RNG.integers(0, 9, size)
        np.testing.assert_array_equal(of_rows(rows), alone[rows])
    graph = logits_of.get_concrete_function(
        tf.nest.map_structure(lambda part: part[:size], contexts), token_ids[:size]
    ).graph
    assert not operations(graph) & ONE_DNN


def test_alike_rows_compute_what_others_do(model):
    size = alike_rows.GROUP_SIZE
    images = RNG.normal(size=(size, 8, 12, 3)).astype("float32")
    token_ids = RNG.integers(4, 40, size=(size, 1)).astype("int32")
    cache = model.init_cache(images, CAPACITY)
    ordinary, _ = model.decode_step(token_ids, cache, 0)
    with alike_rows.alike_rows():
        logits, _ = model.decode_step(token_ids, cache, 0)
    np.testing.assert_allclose(logits, ordinary, atol=1e-5)
