"""What every layer must do: serialise, build, run eagerly and compiled, and run in bfloat16."""

import keras
import numpy as np
import tensorflow as tf


def run_layer_test(make_layer, inputs, expected_shapes):
    """Checks a layer.

    Args:
        make_layer: called with `dtype=`; returns a new layer.
        inputs: tuple of arrays, the positional arguments of a call.
        expected_shapes: shape of the output, or a tuple of shapes.
    """
    layer = make_layer(dtype="float32")
    outputs = tf.nest.flatten(layer(*inputs))
    expected = expected_shapes if isinstance(expected_shapes[0], tuple) else (expected_shapes,)
    assert [tuple(output.shape) for output in outputs] == list(expected)

    # The copy has the same weights in the same order, so it computes the same.
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == layer.get_config()
    copy(*inputs)
    copy.set_weights(layer.get_weights())
    assert [weight.path.split("/")[-1] for weight in copy.weights] == [
        weight.path.split("/")[-1] for weight in layer.weights
    ]
    for output, copied in zip(outputs, tf.nest.flatten(copy(*inputs))):
        np.testing.assert_array_equal(output, copied)

    # Compiled, forward and backward: every weight takes part.
    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            total = sum(
                tf.reduce_sum(tf.sin(output)) for output in tf.nest.flatten(layer(*inputs))
            )
        return tape.gradient(total, layer.trainable_variables)

    assert all(gradient is not None for gradient in gradients())

    low_precision = make_layer(dtype="mixed_bfloat16")
    low_precision(*inputs)
    low_precision.set_weights(layer.get_weights())
    assert all(weight.dtype == "float32" for weight in low_precision.weights)
    for output, low in zip(outputs, tf.nest.flatten(low_precision(*inputs))):
        scale = np.max(np.abs(output)) + 1e-6
        assert np.max(np.abs(np.asarray(tf.cast(low, "float32")) - output)) / scale < 0.1
