"""Layer normalisation in the operations that TensorFlow is fast at.

Shapes: D width.
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="official_coca")
class LayerNormalization(keras.layers.LayerNormalization):
    """Keras' layer over the last axis, computed from the differences to the mean.

    Keras multiplies the input by a scale and adds a shift, both as large as the input, and takes
    TensorFlow's squared difference, which is slow where the mean is broadcast. The differences
    also lose fewer digits where the mean is large. Statistics are in float32 at least. Scale and
    shift are always learned, so Keras' other arguments are not there.

    Args:
        epsilon: added to the variance.
        name, dtype, trainable: as of every Keras layer.

    Call arguments:
        inputs: (..., D).

    Returns:
        (..., D) in the layer's compute dtype.
    """

    def __init__(self, epsilon, name=None, dtype=None, trainable=True):
        super().__init__(epsilon=epsilon, name=name, dtype=dtype, trainable=trainable)

    def get_config(self):
        return {**keras.layers.Layer.get_config(self), "epsilon": self.epsilon}

    def call(self, inputs):
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        centred = x - ops.mean(x, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        normalized = centred * ops.rsqrt(variance + self.epsilon)
        gamma, beta = ops.cast(self.gamma, x.dtype), ops.cast(self.beta, x.dtype)
        return ops.cast(normalized * gamma + beta, self.compute_dtype)
