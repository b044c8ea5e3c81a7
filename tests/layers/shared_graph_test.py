"""Blocks that share a graph compute what each computes alone.

Shapes: B batch, L tokens, D width.
"""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_coca.layers.attention_masks import causal_mask
from official_coca.layers.shared_graph import separate_graphs
from official_coca.layers.transformer_block import TransformerBlock

B, L, D = 2, 5, 8


def blocks(count, **arguments):
    made = []
    for index in range(count):
        block = TransformerBlock(2, 16, cross_attention=True, name=f"block_{index}", **arguments)
        block.build((None, None, D), (None, None, D))
        made.append(block)
    return made


def inputs(seed=0):
    values = np.random.default_rng(seed).normal(size=(2, B, L, D)).astype("float32")
    return tf.constant(values[0]), tf.constant(values[1])


def loss_and_gradients(layers, x, context):
    variables = [variable.value for layer in layers for variable in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch([x, context])
        y = x
        for layer in layers:
            y = layer(y, context=context, attention_mask=causal_mask(L))
        loss = tf.reduce_sum(tf.cast(y, tf.float32) ** 2)
    return loss, *tape.gradient(loss, [x, context, *variables])


@pytest.mark.parametrize("how", ["graph", "xla", "bfloat16"])
def test_loss_and_gradients_equal_the_eager_ones(how):
    layers = blocks(3, dtype="mixed_bfloat16" if how == "bfloat16" else None)
    eager = loss_and_gradients(layers, *inputs())
    run = tf.function(lambda *tensors: loss_and_gradients(layers, *tensors),
                      jit_compile=how == "xla")  # fmt: skip
    tolerance = 0.05 if how == "bfloat16" else 1e-4
    for left, right in zip(run(*inputs()), eager):
        scale = np.max(np.abs(right)) + 1e-6
        np.testing.assert_allclose(left / scale, right / scale, atol=tolerance)


def test_a_graph_of_many_blocks_holds_the_operations_of_one():
    def operations(count):
        layers = blocks(count)
        run = tf.function(lambda *tensors: loss_and_gradients(layers, *tensors))
        graph = run.get_concrete_function(*inputs()).graph.as_graph_def()
        nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
        return sum(node.op not in ("ReadVariableOp", "Placeholder") for node in nodes)

    one, six = operations(1), operations(6)
    assert six < 1.5 * one


def test_decoding_steps_of_equal_blocks_share_a_graph():
    layers = blocks(3)
    x, context = inputs()

    def step(x, context, index):
        for block in layers:
            cache = block.self_attend.empty_cache(B, L)
            x, _ = block.decode_step(x, cache, block.project_context(context), index)
        return x

    run = tf.function(step)
    graph = run.get_concrete_function(x[:, :1], context, tf.constant(2)).graph.as_graph_def()
    operations = [node.op for f in graph.library.function for node in f.node_def]
    softmax = operations.count("Softmax") + operations.count("LogSoftmax")
    assert softmax == 2  # self- and cross-attention, once for three blocks
    np.testing.assert_allclose(
        run(x[:, :1], context, tf.constant(2)), step(x[:, :1], context, 2), atol=1e-5
    )


def test_no_graph_is_shared_where_each_block_wants_its_own():
    layers = blocks(2)

    def functions(wanted):
        def run(*tensors):
            with separate_graphs(wanted):
                return layers[1](layers[0](*tensors), *tensors[1:])

        return tf.function(run).get_concrete_function(*inputs()).graph.as_graph_def().library

    assert functions(False).function and not functions(True).function


def test_variables_that_wait_elsewhere_are_not_made_in_a_shared_graph():
    with keras.StatelessScope(initialize_variables=False):
        keras.Variable(initializer="zeros", shape=(2,))
    (block,) = blocks(1)
    run = tf.function(lambda x, context: block(x, context=context))
    for length in (L, L - 1):  # TensorFlow refuses variables made when a function is traced again
        run(*(tensor[:, :length] for tensor in inputs()))


def test_new_weights_are_used():
    layers = blocks(2)
    run = tf.function(lambda x, context: layers[1](layers[0](x, context=context), context=context))
    before = run(*inputs())
    kernel = layers[1].mlp_output.kernel
    kernel.assign(2 * kernel)
    after = run(*inputs())
    assert not np.allclose(before, after)
    x, context = inputs()
    expected = layers[1](layers[0](x, context=context), context=context)
    np.testing.assert_allclose(after, expected, atol=1e-5)


def test_a_block_with_low_rank_weights_keeps_them():
    plain, adapted = blocks(2)
    adapted.mlp_hidden.enable_lora(2)
    adapted.mlp_hidden.lora_kernel_b.assign(np.ones((2, 16), "float32"))
    x, context = inputs()
    for block in (plain, adapted):
        run = tf.function(lambda x, context: block(x, context=context))  # noqa: B023
        np.testing.assert_allclose(run(x, context), block(x, context=context), atol=1e-5)


def test_no_layer_is_kept_alive():
    (block,) = blocks(1)
    tf.function(lambda x, context: block(x, context=context))(*inputs())
    kept = weakref.ref(block)
    del block
    keras.utils.clear_session()
    gc.collect()
    assert kept() is None
