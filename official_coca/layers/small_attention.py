"""Attention of few tokens, by the kernels of TensorFlow that do not call oneDNN.

oneDNN shares each operation among all threads and takes longer to start than one token's attention
takes by itself: 8 heads that look at 76 tokens took 93 to 142 microseconds on two CPUs with it, 24
to 29 without, and a transposition of 17 tokens 70 instead of 1 (`benchmarks/README.md`). It
replaces the usual operations by their names, so other ones are written here that compute the same.

Shapes: B batch, L query tokens, S key tokens, H heads, d width of one head.
"""

import math

import keras
from keras import ops

# Multiplications in one product up to which TensorFlow hands whole products to its threads, rather
# than parts of each: kMaxCostOuterParallelism of its kernels/matmul_op_impl.h.
_LARGEST_PRODUCT = 128 * 128
# Numbers in a tensor up to which oneDNN's transposition took longer than cutting the tensor up and
# putting it together again; both took as long for about twice as many.
_FEW_NUMBERS = 2**16


def is_small(query, key):
    """Whether attention of (B, H, L, d) to (B, H, S, d) is for the functions of this module."""
    sizes = (query.shape[-2], *key.shape[-2:])
    return _is_for_one_dnn(query) and None not in sizes and math.prod(sizes) <= _LARGEST_PRODUCT


def has_few_numbers(x):
    """Whether the axes of a tensor are for `swap_few`."""
    return _is_for_one_dnn(x) and None not in x.shape and math.prod(x.shape) <= _FEW_NUMBERS


def swap_few(x):
    """(B, m, n, d) to (B, n, m, d)."""
    first = 1 if x.shape[1] <= x.shape[2] else 2
    return ops.stack(ops.unstack(x, axis=first), axis=3 - first)


def small_product(a, b, transpose_b=False):
    """a @ b of two stacks of matrices, or a @ bᵀ."""
    import tensorflow as tf

    return tf.raw_ops.BatchMatMulV3(x=a, y=b, Tout=a.dtype, adj_y=transpose_b)


def small_softmax(scores):
    """Softmax over the last axis."""
    return ops.exp(ops.log_softmax(scores, axis=-1))


def _is_for_one_dnn(x):
    if keras.backend.backend() != "tensorflow":
        return False
    return keras.backend.standardize_dtype(x.dtype) == "float32"
