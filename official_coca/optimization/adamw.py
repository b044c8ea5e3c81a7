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
            learning_rate = self._step_sizes(learning_rate)
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _step_sizes(self, learning_rate):
        """What is the same for all variables of a step, computed once."""
        import tensorflow as tf

        learning_rate = tf.cast(learning_rate, "float32")
        step = tf.cast(self.iterations + 1, "float32")
        return (
            learning_rate,
            learning_rate * (self.weight_decay or 0.0),
            tf.pow(tf.cast(self.beta_1, "float32"), step),
            tf.pow(tf.cast(self.beta_2, "float32"), step),
        )

    def update_step(self, gradient, variable, learning_rate):
        if not isinstance(learning_rate, tuple):
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        dtype = variable.dtype
        learning_rate, decay, beta_1_power, beta_2_power = (
            tf.cast(size, dtype) for size in learning_rate
        )
        if self.weight_decay and self._use_weight_decay(variable):
            # A product alone, assigned without a copy: a difference would be one pass more.
            variable.assign(variable * (1 - decay))
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=beta_1_power,
            beta2_power=beta_2_power,
            lr=learning_rate,
            beta1=tf.constant(self.beta_1, dtype),
            beta2=tf.constant(self.beta_2, dtype),
            epsilon=tf.constant(self.epsilon, dtype),
            grad=tf.cast(tf.convert_to_tensor(gradient), dtype),
        )
