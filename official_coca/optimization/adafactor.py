"""Adafactor as large vision transformers are trained with it.

The variant of Zhai et al., "Scaling Vision Transformers" (2022), section 3.4, which CoCa follows
(section 4.1, "Optimization"): Adafactor (Shazeer and Stern, 2018) with
- a first moment (b1 = 0.9), kept in bfloat16 so that it costs half a copy of the weights;
- a second moment factored into row and column means over the two largest dimensions, whose decay
  b2(t) = 1 - t^-0.8 is capped (0.999), so that late gradients still count;
- no scaling of the step by the size of the parameter and no step size of its own;
- decoupled weight decay: `weight * weight_decay * learning_rate` is taken off at each step.

`keras.optimizers.Adafactor` is another algorithm: no first moment, no cap, steps scaled by the
parameters, and a full-size second moment beside the factors.
"""

import keras
from keras import ops

from official_coca.errors import InvalidInputError


@keras.saving.register_keras_serializable(package="official_coca")
class Adafactor(keras.optimizers.Optimizer):
    """Factored second moments with momentum; about half a copy of the weights in state.

    Args:
        learning_rate: float or `LearningRateSchedule`.
        beta_1: decay of the first moment; 0 keeps none.
        beta_2_cap: upper limit of the second moment's decay.
        beta_2_exponent: c of b2(t) = 1 - t^-c, with t the number of the step from 1.
        epsilon: added to squared gradients (Shazeer and Stern, section 3.2).
        clip_threshold: the update of one variable is scaled down so that its root mean square
            is at most this (Shazeer and Stern, section 6); None clips nothing.
        minimum_factored_size: variables whose second-largest dimension is smaller keep a full
            second moment; below 32 factoring saves next to nothing.
        momentum_dtype: dtype of the first moment.
        weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name:
            as in every Keras optimizer.

    Example:

        optimizer = Adafactor(LinearWarmupLinearDecay(8e-4, 10_000, 500_000), weight_decay=0.01)
        model.compile(optimizer)
    """

    def __init__(
        self,
        learning_rate=8e-4,
        beta_1=0.9,
        beta_2_cap=0.999,
        beta_2_exponent=0.8,
        epsilon=1e-30,
        clip_threshold=1.0,
        minimum_factored_size=32,
        momentum_dtype="bfloat16",
        weight_decay=0.01,
        name="adafactor",
        **kwargs,
    ):
        super().__init__(
            learning_rate=learning_rate, weight_decay=weight_decay, name=name, **kwargs
        )
        for argument, value in (("beta_1", beta_1), ("beta_2_cap", beta_2_cap)):
            if not 0 <= value < 1:
                raise InvalidInputError(f"Adafactor: {argument}={value} must lie in [0, 1)")
        self.beta_1 = beta_1
        self.beta_2_cap = beta_2_cap
        self.beta_2_exponent = beta_2_exponent
        self.epsilon = epsilon
        self.clip_threshold = clip_threshold
        self.minimum_factored_size = minimum_factored_size
        self.momentum_dtype = momentum_dtype

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._factored_axes = [self._axes_to_factor(variable.shape) for variable in variables]
        self._row_means, self._column_means, self._full_means, self._momenta = [], [], [], []
        for variable, axes in zip(variables, self._factored_axes):
            slots = {"row_mean": None, "column_mean": None, "full_mean": None, "momentum": None}
            if axes is None:
                slots["full_mean"] = self._add_slot(variable, "full_mean", variable.shape)
            else:
                row_axis, column_axis = axes
                slots["row_mean"] = self._add_slot(
                    variable, "row_mean", _without(variable.shape, column_axis)
                )
                slots["column_mean"] = self._add_slot(
                    variable, "column_mean", _without(variable.shape, row_axis)
                )
            if self.beta_1:
                slots["momentum"] = self._add_slot(
                    variable, "momentum", variable.shape, self.momentum_dtype
                )
            self._row_means.append(slots["row_mean"])
            self._column_means.append(slots["column_mean"])
            self._full_means.append(slots["full_mean"])
            self._momenta.append(slots["momentum"])

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, "float32")
        step = ops.cast(self.iterations + 1, "float32")
        beta_2 = ops.minimum(1.0 - ops.power(step, -self.beta_2_exponent), self.beta_2_cap)
        square = ops.square(gradient) + self.epsilon

        axes = self._factored_axes[index]
        if axes is None:
            mean = self._average(self._full_means[index], square, beta_2)
            update = gradient * ops.rsqrt(mean)
        else:
            row_axis, column_axis = axes
            row_mean = self._average(
                self._row_means[index], ops.mean(square, axis=column_axis), beta_2
            )
            column_mean = self._average(
                self._column_means[index], ops.mean(square, axis=row_axis), beta_2
            )
            row_mean = ops.expand_dims(row_mean, column_axis)
            column_mean = ops.expand_dims(column_mean, row_axis)
            row_share = row_mean / ops.mean(row_mean, axis=row_axis, keepdims=True)
            update = gradient * ops.rsqrt(row_share) * ops.rsqrt(column_mean)

        if self.clip_threshold is not None:
            root_mean_square = ops.sqrt(ops.mean(ops.square(update)))
            update = update / ops.maximum(1.0, root_mean_square / self.clip_threshold)
        momentum = self._momenta[index]
        if momentum is not None:
            update = self.beta_1 * ops.cast(momentum, "float32") + (1.0 - self.beta_1) * update
            self.assign(momentum, ops.cast(update, self.momentum_dtype))
        step_size = ops.cast(learning_rate, "float32")
        self.assign_sub(variable, ops.cast(step_size * update, variable.dtype))

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "beta_1": self.beta_1,
                "beta_2_cap": self.beta_2_cap,
                "beta_2_exponent": self.beta_2_exponent,
                "epsilon": self.epsilon,
                "clip_threshold": self.clip_threshold,
                "minimum_factored_size": self.minimum_factored_size,
                "momentum_dtype": self.momentum_dtype,
            }
        )
        return config

    def _axes_to_factor(self, shape):
        """The axes (rows, columns) of the two largest dimensions, or None to keep them whole."""
        if len(shape) < 2:
            return None
        by_size = sorted(range(len(shape)), key=lambda axis: shape[axis])
        if shape[by_size[-2]] < self.minimum_factored_size:
            return None
        return by_size[-2], by_size[-1]

    def _add_slot(self, variable, name, shape, dtype="float32"):
        path = getattr(variable, "path", variable.name).replace("/", "_").replace(":", "_")
        return self.add_variable(shape=shape, dtype=dtype, name=f"{path}_{name}")

    def _average(self, slot, value, decay):
        value = decay * ops.convert_to_tensor(slot) + (1.0 - decay) * value
        self.assign(slot, value)
        return value


def _without(shape, axis):
    return tuple(size for index, size in enumerate(shape) if index != axis)
