"""Runs an evaluator while a model trains and puts its results among the training logs."""

import contextlib

import keras

from official_coca.errors import InvalidInputError


class EvaluationCallback(keras.callbacks.Callback):
    """Evaluates while a model trains; callbacks that come later see the results in `logs`.

    It evaluates after the first, every n-th and the last epoch of a `fit`: after the first,
    because CSVLogger fixes its columns there. Put this callback before those that read the logs
    (CSVLogger, ModelCheckpoint, TensorBoard).

    When the optimizer keeps moving averages of the weights (`use_ema=True`), these are evaluated
    and the training weights put back bit for bit. `keras.callbacks.SwapEMAWeights` with
    `swap_on_epoch=True` must therefore come after this callback.

    Args:
        evaluator: called with the model, returns {name: float}.
        prefix: results are logged as "<prefix>_<name>".
        every_n_epochs: epochs between evaluations.

    Example:

        model.fit(dataset, epochs=10, callbacks=[
            EvaluationCallback(ZeroShotEvaluator(test, names), "zero_shot"),
            keras.callbacks.CSVLogger("log.csv"),
        ])
    """

    def __init__(self, evaluator, prefix, every_n_epochs=1):
        super().__init__()
        if every_n_epochs < 1:
            raise InvalidInputError(f"every_n_epochs is {every_n_epochs}; it must be 1 or more")
        self.evaluator = evaluator
        self.prefix = prefix
        self.every_n_epochs = every_n_epochs
        self._is_first_epoch = True

    def on_train_begin(self, logs=None):
        self._is_first_epoch = True

    def on_epoch_end(self, epoch, logs=None):
        is_last_epoch = epoch + 1 == self.params.get("epochs") or self.model.stop_training
        is_due = (epoch + 1) % self.every_n_epochs == 0 or self._is_first_epoch or is_last_epoch
        self._is_first_epoch = False
        if not is_due:
            return
        with averaged_weights(self.model):
            results = self.evaluator(self.model)
        if logs is not None:
            logs.update({f"{self.prefix}_{name}": value for name, value in results.items()})


@contextlib.contextmanager
def averaged_weights(model):
    """Within the block, `model` has its optimizer's moving averages, if there are any, as weights.

    `keras.callbacks.SwapEMAWeights` swaps by adding and subtracting, which changes the last bits
    of the weights at each evaluation; here the training weights are copied and put back.
    """
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # out of a LossScaleOptimizer
    if not getattr(optimizer, "use_ema", False) or not optimizer.built:
        yield
        return
    variables = optimizer._trainable_variables
    training_values = [keras.ops.convert_to_numpy(variable) for variable in variables]
    try:
        for variable, average in zip(
            variables, optimizer._model_variables_moving_average, strict=True
        ):
            variable.assign(average)
        yield
    finally:
        for variable, value in zip(variables, training_values, strict=True):
            variable.assign(value)
