"""One row after the other, so that a row's result does not depend on its neighbours.

Matrix products choose their blocks, and with them the order in which they add, by the size of the
whole batch: the same picture gets other last bits among 3 than among 32. A server merges the
requests of many clients, so answers would change with the load.

Shapes: B rows.
"""

import keras
import tensorflow as tf

# Rows, or groups of rows, under way at once. On two cores 2 to 8 are equally fast; more only take
# more memory.
_PARALLEL_ROWS = 4


def row_by_row(function, tensors, variables):
    """Applies `function` to each row as a batch of one; bit-equal whatever the other rows are.

    Args:
        function: takes tensors with a leading axis of 1 and returns a structure of such tensors,
            whose other axes have static sizes.
        tensors: a tuple of tensors (B, ...) with static sizes but for B, which may be 0.
        variables: the Keras variables that `function` may read.

    Returns:
        The structure that `function` returns, of tensors (B, ...).
    """

    def of_one(*row):
        results = function(*(tf.expand_dims(tensor, 0) for tensor in row))
        return tf.nest.map_structure(lambda result: tf.squeeze(result, 0), results)

    return map_entries(of_one, tensors, variables)


def map_entries(function, tensors, variables):
    """`tf.map_fn` with weights that are read before the loop.

    Persistent tapes, and functions after eager calls, cannot differentiate a loaded loop that reads
    variables: TensorFlow has lost what their handles are of.

    Args:
        function: takes an entry of each of `tensors` and returns a structure of tensors of static
            sizes.
        tensors: a tuple of tensors with equal first axes.
        variables: the Keras variables that `function` may read.
    """
    # Traced for what it reads and returns only, and again in the loop: a function there would pass
    # on every weight once more, which makes loading slow.
    entry = [tf.TensorSpec(tensor.shape[1:], tensor.dtype) for tensor in tensors]
    traced = tf.function(function, autograph=False).get_concrete_function(*entry)
    read = {id(variable) for variable in traced.graph.variables}
    values = [
        (variable, tf.convert_to_tensor(variable.value))
        for variable in variables
        if id(variable.value) in read
    ]

    def of_entry(entry):
        with keras.StatelessScope(state_mapping=values, initialize_variables=False):
            return function(*entry)

    return tf.map_fn(
        of_entry,
        tuple(tensors),
        fn_output_signature=tf.nest.map_structure(
            tf.TensorSpec.from_tensor, traced.structured_outputs
        ),
        parallel_iterations=_PARALLEL_ROWS,
    )
