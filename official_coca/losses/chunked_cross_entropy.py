"""Vocabulary projection and cross-entropy together, a chunk of tokens after the other.

Shapes: T tokens, D width, V vocabulary.
"""

import math

import tensorflow as tf

# Logits that are held at once: 128 MiB in float32, which hides the cost of adding up the kernel's
# gradient, as large as the kernel, after each chunk.
_CHUNK_LOGITS = 2**25


def chunked_cross_entropy(
    features, kernel, targets, weights, transpose_kernel=False, chunk_logits=_CHUNK_LOGITS
):
    """Weighted sum of the losses of the tokens, in memory that does not grow with T * V.

    The gradients of a chunk are made right after its loss, so that its logits are neither kept nor
    computed again. The way forward therefore costs what both ways cost elsewhere: for training.

    Args:
        features: (T, D).
        kernel: (D, V), or (V, D) with `transpose_kernel`. Products are taken in the dtype of the
            features.
        targets: (T,) int.
        weights: (T,) float32.
        transpose_kernel: whether the kernel is a token table, (V, D).
        chunk_logits: logits to hold at once, at most; at least those of one token are.

    Returns:
        `(total, losses, hits)`: the sum of weights times losses in nats, a float32 scalar that
        gradients flow from, and without gradients each token's loss and whether it was the
        likeliest, (T,) float32.
    """
    targets, weights = tf.stop_gradient(targets), tf.stop_gradient(weights)
    vocabulary_size = kernel.shape[0 if transpose_kernel else 1]
    chunk_size = max(1, chunk_logits // vocabulary_size)

    @tf.custom_gradient
    def sum_losses(features, kernel):
        total, losses, hits, feature_gradient, kernel_gradient = _all_chunks(
            features, kernel, targets, weights, transpose_kernel, chunk_size
        )

        def gradient(upstream, _losses, _hits):
            return (
                feature_gradient * tf.cast(upstream, feature_gradient.dtype),
                kernel_gradient * tf.cast(upstream, kernel_gradient.dtype),
            )

        return (total, losses, hits), gradient

    return sum_losses(features, tf.convert_to_tensor(kernel))


def _all_chunks(features, kernel, targets, weights, transpose_kernel, chunk_size):
    """(total, losses, hits, gradient of the features, gradient of the kernel)."""
    inputs = (features, targets, weights)
    num_tokens = features.shape[0]
    if num_tokens is not None and num_tokens <= chunk_size:
        return _one_chunk(*inputs, kernel, transpose_kernel)
    if num_tokens is None:
        num_tokens = tf.shape(features)[0]
        num_chunks = tf.maximum(1, -(-num_tokens // chunk_size))
    else:
        num_chunks = math.ceil(num_tokens / chunk_size)
    # Chunks of one size, which XLA needs; what fills the last one up weighs nothing.
    size = -(-num_tokens // num_chunks)
    missing = num_chunks * size - num_tokens
    inputs = [_fill_up(part, missing, num_chunks, size) for part in inputs]

    def goes_on(index, *_):
        return index < num_chunks

    def body(index, total, kernel_gradient, rows):
        chunk = [part[index] for part in inputs]
        sum_of_chunk, *new_rows, gradient = _one_chunk(*chunk, kernel, transpose_kernel)
        rows = [array.write(index, new) for array, new in zip(rows, new_rows)]
        return index + 1, total + sum_of_chunk, kernel_gradient + gradient, rows

    rows = [
        tf.TensorArray(dtype, num_chunks, element_shape=(None, *shape))
        for dtype, shape in (
            (tf.float32, ()), (tf.float32, ()), (features.dtype, features.shape[1:])
        )
    ]  # fmt: skip
    state = (tf.constant(0), tf.constant(0.0), tf.zeros_like(kernel), rows)
    _, total, kernel_gradient, rows = tf.while_loop(
        goes_on, body, state, parallel_iterations=1, maximum_iterations=num_chunks
    )
    losses, hits, feature_gradient = (array.concat()[:num_tokens] for array in rows)
    return total, losses, hits, feature_gradient, kernel_gradient


def _fill_up(part, missing, num_chunks, size):
    padded = tf.pad(part, [(0, missing)] + [(0, 0)] * (len(part.shape) - 1))
    return tf.reshape(padded, (num_chunks, size, *part.shape[1:]))


def _one_chunk(features, targets, weights, kernel, transpose_kernel):
    """As `_all_chunks`, of tokens whose logits may be held at once."""
    dtype = features.dtype
    product_kernel = tf.cast(kernel, dtype)
    logits = tf.matmul(features, product_kernel, transpose_b=transpose_kernel)
    logits = tf.cast(logits, tf.float32)
    hits = tf.cast(tf.argmax(logits, axis=-1, output_type=targets.dtype) == targets, tf.float32)
    # The operation below `tf.nn.sparse_softmax_cross_entropy_with_logits`: it has both at once.
    losses, logit_gradient = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(
        features=logits, labels=targets
    )
    logit_gradient = tf.cast(logit_gradient, dtype)
    row_weights = tf.cast(weights, dtype)[:, None]
    feature_gradient = row_weights * tf.matmul(
        logit_gradient, product_kernel, transpose_b=not transpose_kernel
    )
    # Weighing the narrow side spares a pass over the wide one.
    weighed = features * row_weights
    sides = (logit_gradient, weighed) if transpose_kernel else (weighed, logit_gradient)
    kernel_gradient = tf.cast(tf.matmul(*sides, transpose_a=True), kernel.dtype)
    return tf.reduce_sum(weights * losses), losses, hits, feature_gradient, kernel_gradient
