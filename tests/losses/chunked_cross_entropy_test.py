"""Behaviour of the chunked vocabulary projection: that of the plain one, in less memory."""

import numpy as np
import pytest
import tensorflow as tf

from official_coca.losses.captioning import token_cross_entropy
from official_coca.losses.chunked_cross_entropy import chunked_cross_entropy

T, D, V = 11, 6, 17


def _inputs(dtype="float32"):
    generator = np.random.default_rng(0)
    features = tf.constant(generator.normal(size=(T, D)), dtype)
    kernel = tf.Variable(generator.normal(size=(D, V)).astype("float32"))
    targets = tf.constant(generator.integers(V, size=T), tf.int32)
    weights = tf.constant(generator.integers(2, size=T) * 0.7, tf.float32)
    return features, kernel, targets, weights


def _plain(features, kernel, targets, weights):
    with tf.GradientTape() as tape:
        tape.watch(features)
        logits = tf.cast(features @ tf.cast(kernel, features.dtype), tf.float32)
        losses, hits = token_cross_entropy(logits, targets)
        loss = 3 * tf.reduce_sum(losses * weights)
    return (loss, losses, hits, *tape.gradient(loss, [features, kernel]))


def _chunked(features, kernel, targets, weights, **options):
    with tf.GradientTape() as tape:
        tape.watch(features)
        total, losses, hits = chunked_cross_entropy(features, kernel, targets, weights, **options)
        loss = 3 * total
    return (loss, losses, hits, *tape.gradient(loss, [features, kernel]))


@pytest.mark.parametrize("tokens_at_once", [1, 3, 4, 11, 100])
@pytest.mark.parametrize("how", ["eager", "unknown length", "xla"])
def test_losses_hits_and_gradients_equal_the_plain_ones(how, tokens_at_once):
    features, kernel, targets, weights = _inputs()

    def run(features, targets, weights):
        return _chunked(features, kernel, targets, weights, chunk_logits=tokens_at_once * V)

    if how == "unknown length":
        run = tf.function(run, input_signature=[
            tf.TensorSpec((None, D)), tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,))
        ])  # fmt: skip
    elif how == "xla":
        run = tf.function(run, jit_compile=True)
    for left, right in zip(
        run(features, targets, weights), _plain(features, kernel, targets, weights)
    ):
        assert left.shape == right.shape
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tokens_at_once", [4, 100])
def test_token_table_serves_as_kernel(tokens_at_once):
    features, kernel, targets, weights = _inputs()
    table = tf.Variable(tf.transpose(kernel))
    *left, table_gradient = _chunked(
        features, table, targets, weights,
        transpose_kernel=True, chunk_logits=tokens_at_once * V,
    )  # fmt: skip
    right = _plain(features, kernel, targets, weights)
    for ours, plain in zip([*left, tf.transpose(table_gradient)], right):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)


def test_half_precision_features_keep_their_dtype_and_the_kernel_its_own():
    ours = _chunked(*_inputs("bfloat16"), chunk_logits=4 * V)
    plain = _plain(*_inputs("bfloat16"))
    assert [value.dtype for value in ours] == [value.dtype for value in plain]
    for left, right in zip(ours, plain):
        np.testing.assert_allclose(
            tf.cast(left, "float32"), tf.cast(right, "float32"), rtol=0.05, atol=0.1
        )


@pytest.mark.parametrize("margin", [3.0, 15.0, 60.0, 1e4])
def test_losses_of_certain_tokens_are_exact(margin):
    kernel = tf.constant([[0.0, margin, -margin, 0.0]])
    targets = tf.constant([1, 0, 2])
    _, losses, hits = chunked_cross_entropy(
        tf.ones((3, 1)), kernel, targets, tf.ones(3)
    )
    expected = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, tf.repeat(kernel, 3, 0))
    np.testing.assert_allclose(losses, expected, rtol=1e-6, atol=1e-6)
    assert hits.numpy().tolist() == [1, 0, 0]


def test_no_token_at_all_has_no_loss_and_no_gradient():
    features, kernel, targets, weights = _inputs()
    run = tf.function(
        lambda features: _chunked(features, kernel, targets[:0], weights[:0], chunk_logits=4 * V),
        input_signature=[tf.TensorSpec((None, D))],
    )
    loss, losses, hits, feature_gradient, kernel_gradient = run(features[:0])
    assert loss == 0 and len(losses) == len(hits) == len(feature_gradient) == 0
    assert not np.any(kernel_gradient)


def test_logits_of_all_tokens_are_never_held_at_once():
    features, kernel, targets, weights = _inputs()
    run = tf.function(lambda: _chunked(features, kernel, targets, weights, chunk_logits=3 * V))
    graphs = [run.get_concrete_function().graph]
    sizes = [
        output.shape.num_elements() or 0
        for graph in [*graphs, *graphs[0]._functions.values()]
        for operation in (graph.graph if hasattr(graph, "graph") else graph).get_operations()
        for output in operation.outputs
        if output.shape.rank is not None and output.shape[-1:] == [V]
    ]
    assert sizes and max(sizes) < T * V
