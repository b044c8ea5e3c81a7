"""AdamW as one operation a variable.

Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019), as `keras.optimizers.AdamW`.
"""

import keras


@keras.saving.register_keras_serializable(package="official_coca")
class AdamW(keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` with TensorFlow's fused kernel: same arguments, state and result.

    Keras writes the update of a variable as some forty operations, each a pass over memory of its
    own. For a model of hundreds of variables they are most of the graph, hence of the time to the
    first step, and they take longer than the forward pass of a small batch.

    With `amsgrad`, and on other backends than TensorFlow, it is Keras' own.

    Example:

        model.compile(official_coca.AdamW(1e-4, weight_decay=0.01, global_clipnorm=1.0))
    """

    @property
    def _is_fused(self):
        return keras.backend.backend() == "tensorflow" and not self.amsgrad

    def _apply_weight_decay(self, variables):
        if not self._is_fused:
            super()._apply_weight_decay(variables)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if self._is_fused:
            dtypes = {_dtype_name(variable) for variable in trainable_variables}
            learning_rate = {dtype: self._step_sizes(learning_rate, dtype) for dtype in dtypes}
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _step_sizes(self, learning_rate, dtype):
        """What is the same for all variables of a step, made once, since each operation of a graph
        takes time to trace: the share of a variable that decay leaves, and the kernel's arguments.
        """
        import tensorflow as tf

        learning_rate = tf.cast(learning_rate, "float32")
        step = tf.cast(self.iterations + 1, "float32")
        sizes = {
            "lr": learning_rate,
            "beta1_power": tf.pow(tf.cast(self.beta_1, "float32"), step),
            "beta2_power": tf.pow(tf.cast(self.beta_2, "float32"), step),
            "beta1": self.beta_1,
            "beta2": self.beta_2,
            "epsilon": self.epsilon,
        }
        kept = tf.cast(1 - learning_rate * (self.weight_decay or 0.0), dtype)
        return kept, {name: tf.cast(size, dtype) for name, size in sizes.items()}

    def update_step(self, gradient, variable, learning_rate):
        if not isinstance(learning_rate, dict):
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        kept, sizes = learning_rate[_dtype_name(variable)]
        if self.weight_decay and self._use_weight_decay(variable):
            # A product alone, assigned without a copy: a difference would be one pass more.
            variable.assign(variable * kept)
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            grad=tf.cast(tf.convert_to_tensor(gradient), variable.dtype),
            **sizes,
        )


def _dtype_name(variable):
    """Of Keras' variable or of the TensorFlow variable in it."""
    return keras.backend.standardize_dtype(variable.dtype)
