"""Products with the rows of a matrix, which TensorFlow computes faster than products of tensors.

Shapes: D width of the input, U width of the output.
"""

from keras import ops

from official_coca.layers.alike_rows import rows_are_alike
from official_coca.layers.without_one_dnn import small_products


def apply_to_rows(dense, x):
    """Applies a `keras.layers.Dense` to a matrix of all rows of the input.

    TensorFlow adds the bias, and applies GELU, within the product of two matrices only.

    Args:
        dense: a built layer.
        x: (..., D).

    Returns:
        (..., U).
    """
    rows = _to_rows(x)
    # Quantized products are sums of whole numbers, which are exact in any order.
    if rows_are_alike() and dense.quantization_mode is None:
        rows = small_products(rows, ops.convert_to_tensor(dense.kernel))
        rows = rows if dense.bias is None else rows + dense.bias
        rows = dense.activation(rows)
    else:
        rows = dense(rows)
    return _from_rows(rows, x)


def multiply_rows(x, kernel, transpose_kernel=False):
    """x @ kernel, or x @ kernelᵀ.

    Args:
        x: (..., D).
        kernel: (D, U), or (U, D) to be transposed.

    Returns:
        (..., U).
    """
    if rows_are_alike():
        return _from_rows(small_products(_to_rows(x), kernel, transpose_kernel), x)
    return ops.matmul(x, ops.transpose(kernel) if transpose_kernel else kernel)


def _to_rows(x):
    return ops.reshape(x, (-1, x.shape[-1]))


def _from_rows(rows, x):
    return ops.reshape(rows, (-1, *ops.shape(x)[1:-1], rows.shape[-1]))
