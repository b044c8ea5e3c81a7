"""Dense layers on the rows of a matrix, which TensorFlow computes faster than products of tensors.

Shapes: D width of the input, U width of the output.
"""

from keras import ops


def apply_to_rows(dense, x):
    """Applies a `keras.layers.Dense` to a matrix of all rows of the input.

    TensorFlow adds the bias, and applies GELU, within the product of two matrices only.

    Args:
        dense: a built layer.
        x: (..., D).

    Returns:
        (..., U).
    """
    rows = dense(ops.reshape(x, (-1, x.shape[-1])))
    return ops.reshape(rows, (-1, *ops.shape(x)[1:-1], rows.shape[-1]))
