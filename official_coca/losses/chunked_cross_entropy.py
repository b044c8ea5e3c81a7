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

    Where there are several chunks, the gradients of one are made right after its loss, so that its
    logits are neither kept nor computed again. The way forward then costs what both ways cost
    elsewhere: for training.

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
    kernel = tf.convert_to_tensor(kernel)
    arguments = (features, kernel, targets, weights, transpose_kernel)
    num_tokens = features.shape[0]
    if num_tokens is None:
        return tf.cond(
            tf.shape(features)[0] <= chunk_size,
            lambda: _at_once(*arguments),
            lambda: _one_after_the_other(*arguments, chunk_size),
        )
    if num_tokens <= chunk_size:
        return _at_once(*arguments)
    return _one_after_the_other(*arguments, chunk_size)


def _at_once(features, kernel, targets, weights, transpose_kernel):
    """As `chunked_cross_entropy`, of tokens whose logits may be held until the way back."""

    @tf.custom_gradient
    def sum_losses(features, kernel):
        losses, hits, logit_gradient = _losses(features, targets, kernel, transpose_kernel)

        def gradient(upstream, _losses, _hits):
            # Scaling the weights spares a pass over the kernel's gradient.
            return _gradients(
                logit_gradient, features, weights * upstream, kernel, transpose_kernel
            )

        return (tf.reduce_sum(weights * losses), losses, hits), gradient

    return sum_losses(features, kernel)


def _one_after_the_other(features, kernel, targets, weights, transpose_kernel, chunk_size):
    """As `chunked_cross_entropy`; the gradients of a chunk are made before the next one."""

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

    return sum_losses(features, kernel)


def _all_chunks(features, kernel, targets, weights, transpose_kernel, chunk_size):
    """(total, losses, hits, gradient of the features, gradient of the kernel)."""
    inputs = (features, targets, weights)
    num_tokens = features.shape[0]
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
    losses, hits, logit_gradient = _losses(features, targets, kernel, transpose_kernel)
    gradients = _gradients(logit_gradient, features, weights, kernel, transpose_kernel)
    return tf.reduce_sum(weights * losses), losses, hits, *gradients


def _losses(features, targets, kernel, transpose_kernel):
    """Each token's loss, whether it was the likeliest, and the loss's gradient at the logits.

    Few passes over the logits: TensorFlow's own operation for sparse labels takes three times as
    long, since it computes one exponential at a time.
    """
    logits = tf.matmul(features, tf.cast(kernel, features.dtype), transpose_b=transpose_kernel)
    logits = tf.cast(logits, tf.float32)
    likeliest = tf.argmax(logits, axis=-1, output_type=targets.dtype)
    probabilities = tf.nn.softmax(logits)
    # The greatest logit's exponential is 1, so its probability is one over the sum of them all.
    log_sum = _at(logits, likeliest) - tf.math.log(_at(probabilities, likeliest))
    losses = log_sum - _at(logits, targets)
    # In place, since by then nothing else waits for the probabilities.
    with tf.control_dependencies([losses]):
        ones = tf.ones_like(losses)
    places = tf.stack([tf.range(tf.shape(targets)[0], dtype=targets.dtype), targets], axis=-1)
    logit_gradient = tf.tensor_scatter_nd_sub(probabilities, places, ones)
    return losses, tf.cast(likeliest == targets, tf.float32), logit_gradient


def _at(rows, places):
    """(T, V) and (T,) to the value of each row at its place, (T,)."""
    return tf.gather(rows, places, axis=1, batch_dims=1)


def _gradients(logit_gradient, features, weights, kernel, transpose_kernel):
    """Gradients of the weighted sum of losses: of the features and of the kernel."""
    dtype = features.dtype
    logit_gradient = tf.cast(logit_gradient, dtype)
    row_weights = tf.cast(weights, dtype)[:, None]
    feature_gradient = row_weights * tf.matmul(
        logit_gradient, tf.cast(kernel, dtype), transpose_b=not transpose_kernel
    )
    # Weighing the narrow side spares a pass over the wide one.
    weighed = features * row_weights
    sides = (logit_gradient, weighed) if transpose_kernel else (weighed, logit_gradient)
    return feature_gradient, tf.cast(tf.matmul(*sides, transpose_a=True), kernel.dtype)
