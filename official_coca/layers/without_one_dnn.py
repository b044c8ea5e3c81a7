"""Operations on few numbers, by kernels of TensorFlow that do not call oneDNN.

oneDNN shares each operation among all threads and takes longer to start than few numbers take to
compute: attention of 8 heads to 76 tokens took 90 microseconds on two CPUs with it and 19 without,
a transposition of 2,000 numbers 47 and 15 (`benchmarks/README.md`). It replaces operations by their
names, so these are other ones, which compute the same.

Shapes: B batch, L query tokens, S key tokens, H heads, d width of one head.
"""

import math

import keras
from keras import ops

from official_coca.layers.alike_rows import rows_are_alike

# Multiplications in one product up to which TensorFlow hands whole products to its threads, rather
# than parts of each: kMaxCostOuterParallelism of its kernels/matmul_op_impl.h.
_LARGEST_PRODUCT = 128 * 128
# Numbers in a tensor up to which oneDNN's transposition took longer than cutting the tensor up and
# putting it together again, and its attention longer; for twice as many it was the faster.
_FEW_NUMBERS = 2**16


def is_small_attention(query, key):
    """Whether (B, H, L, d) queries and (B, H, S, d) keys are for the two functions below.

    One query each always is; more are where the batch is small too, as oneDNN is faster otherwise.
    Rows that are to be alike always are, since each product is then computed by itself.
    """
    if rows_are_alike():
        return True
    num_queries, num_keys = query.shape[-2], key.shape[-2]
    if not _is_for_one_dnn(query) or None in (num_queries, num_keys):
        return False
    # Queries of a batch of one may be shared by all keys.
    is_few = num_queries == 1 or _are_few((*key.shape[:-2], num_queries, num_keys))
    return is_few and num_queries * num_keys * key.shape[-1] <= _LARGEST_PRODUCT


def small_products(a, b, transpose_b=False):
    """a @ b of two stacks of matrices, or a @ bᵀ."""
    import tensorflow as tf

    return tf.raw_ops.BatchMatMulV3(x=a, y=b, Tout=a.dtype, adj_y=transpose_b)


def small_softmax(scores):
    """Softmax over the last axis."""
    return ops.exp(ops.log_softmax(scores, axis=-1))


def has_few_numbers(x):
    """Whether `swap_axes` swaps the axes of a tensor of this size without oneDNN."""
    return _is_for_one_dnn(x) and _are_few(x.shape)


def swap_axes(x):
    """(B, m, n, d) to (B, n, m, d)."""
    _, m, n, width = x.shape
    if 1 in (m, n) and None not in (m, n):  # the numbers stay where they are
        return ops.reshape(x, (-1, n, m, width))
    if not has_few_numbers(x):
        return ops.swapaxes(x, 1, 2)
    cut = 1 if m <= n else 2
    return ops.stack(ops.unstack(x, axis=cut), axis=3 - cut)


def _is_for_one_dnn(x):
    if keras.backend.backend() != "tensorflow":
        return False
    return keras.backend.standardize_dtype(x.dtype) == "float32"


def _are_few(shape):
    return None not in shape and math.prod(shape) <= _FEW_NUMBERS
