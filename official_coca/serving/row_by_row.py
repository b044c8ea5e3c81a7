"""One row after the other, so that a row's result does not depend on its neighbours.

Matrix products choose their blocks, and with them the order in which they add, by the size of the
whole batch: the same picture gets other last bits among 3 than among 32. A server merges the
requests of many clients, so answers would change with the load.

Shapes: B rows.
"""

import tensorflow as tf

# Rows under way at once. On two cores 2 to 8 are equally fast; more only take more memory.
_PARALLEL_ROWS = 4


def row_by_row(function, tensors):
    """Applies `function` to each row as a batch of one; bit-equal whatever the other rows are.

    Args:
        function: takes tensors with a leading axis of 1 and returns a structure of such tensors,
            whose other axes have static sizes.
        tensors: a tuple of tensors (B, ...) with static sizes but for B, which may be 0.

    Returns:
        The structure that `function` returns, of tensors (B, ...).
    """

    def of_one(*row):
        results = function(*(tf.expand_dims(tensor, 0) for tensor in row))
        return tf.nest.map_structure(lambda result: tf.squeeze(result, 0), results)

    # Traced for what it returns only, and again in the loop: a function there would pass on every
    # weight once more, which makes loading slow.
    row = [tf.TensorSpec(tensor.shape[1:], tensor.dtype) for tensor in tensors]
    outputs = tf.function(of_one, autograph=False).get_concrete_function(*row).structured_outputs
    return tf.map_fn(
        lambda row: of_one(*row),
        tuple(tensors),
        fn_output_signature=tf.nest.map_structure(tf.TensorSpec.from_tensor, outputs),
        parallel_iterations=_PARALLEL_ROWS,
    )
