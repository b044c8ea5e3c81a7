"""Builds models whose weights are about to be loaded, without drawing random ones first."""

import contextlib

import keras


@contextlib.contextmanager
def blank_weights():
    """New variables are zeros in here, whatever their initializers say (TensorFlow only).

    Drawing the weights of a large model takes longer than reading them.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    # Initializers run in a graph that is never executed: they tell shape and dtype at no cost.
    shapes_only = tf.Graph()

    def zeros(next_creator, initial_value=None, **arguments):
        if callable(initial_value):
            with shapes_only.as_default():
                drawn = initial_value()
            value = tf.zeros(drawn.shape, drawn.dtype)
        else:
            value = initial_value
        return next_creator(initial_value=value, **arguments)

    with tf.variable_creator_scope(zeros):
        yield
