"""Checkpoints of a training: everything that makes a resumed run go on as if never stopped.

A checkpoint holds the weights of the model, its random states, the state of the optimizer and
the number of finished epochs; the number of finished steps is the optimizer's. The place in the
data is not stored: the input pipeline finds it again from the step.

`tf.train.Checkpoint(model=model)` would silently leave out layers held in Python lists, so each
variable is listed here by its path. TensorFlow writes a checkpoint under new names and only then
names it the latest: a kill at any moment leaves the one before.
"""

import collections
import os

import keras
import tensorflow as tf

from official_coca.errors import InvalidInputError

_VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


class TrainingCheckpoint:
    """Saves and restores a compiled model.

    Args:
        model: a built and compiled `keras.Model`.
        directory: where the checkpoints lie.
        max_to_keep: older ones are deleted.

    Attributes:
        epoch: number of finished epochs.
    """

    def __init__(self, model, directory, max_to_keep=3):
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        self._epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._optimizer = model.optimizer
        self._variables = _variables_by_name(model)
        self._manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(
                epoch=self._epoch,
                **{name: variable.value for name, variable in self._variables.items()},
            ),
            str(directory),
            max_to_keep=max_to_keep,
            checkpoint_name="checkpoint",
        )

    @property
    def epoch(self):
        return int(self._epoch.numpy())

    @property
    def step(self):
        return int(self._optimizer.iterations.numpy())

    def save(self, epoch):
        """Writes a checkpoint after `epoch` finished epochs and returns its path."""
        self._epoch.assign(epoch)
        return self._manager.save(checkpoint_number=self.step)

    def restore_latest(self):
        """Restores the newest checkpoint and returns its path, or None when there is none."""
        path = self._manager.latest_checkpoint
        if path is None:
            return None
        self._check_shapes(path)
        # Two checks, as TensorFlow's own passes over what it does not know of.
        self._manager.checkpoint.restore(path).assert_consumed()
        return path

    def _check_shapes(self, path):
        saved = {
            name.removesuffix(_VALUE_SUFFIX): shape
            for name, shape in tf.train.load_checkpoint(path).get_variable_to_shape_map().items()
            if name.endswith(_VALUE_SUFFIX)
        }
        saved = {name: shape for name, shape in saved.items() if ":" in name}
        remedy = "go on with the config that began this run (params.yaml), or use another directory"
        for name, variable in self._variables.items():
            shown = name.replace(":", "/")
            shape = list(variable.shape)
            if name not in saved:
                raise InvalidInputError(
                    f"the checkpoint {path} has no variable {shown}, which here has the shape "
                    f"{shape}; {remedy}"
                )
            if saved[name] != shape:
                raise InvalidInputError(
                    f"the variable {shown} has the shape {saved[name]} in the checkpoint {path} "
                    f"and {shape} here; {remedy}"
                )
        for name in saved:
            if name not in self._variables:
                raise InvalidInputError(
                    f"the checkpoint {path} has a variable {name.replace(':', '/')} of the shape "
                    f"{saved[name]}, which is not here; {remedy}"
                )


class CheckpointCallback(keras.callbacks.Callback):
    """Saves a `TrainingCheckpoint` at the end of each epoch.

    With `steps_per_epoch` set to the wanted interval, an epoch is the time between checkpoints.
    """

    def __init__(self, checkpoint):
        super().__init__()
        self.checkpoint = checkpoint

    def on_epoch_end(self, epoch, logs=None):
        self.checkpoint.save(epoch + 1)


def has_checkpoint(directory):
    """Whether `directory` holds a checkpoint to go on from."""
    return os.path.isdir(directory) and tf.train.latest_checkpoint(str(directory)) is not None


def _variables_by_name(model):
    """Every variable to save, by a name that does not depend on how often a model was built.

    The name of the model (coca, coca_1, ...) is left out of the paths, random states are counted,
    and "/" and "." are ":" because TensorFlow escapes them in names.
    """
    weights = {id(variable) for variable in model.weights}
    states = [variable for variable in model.variables if id(variable) not in weights]
    named = {f"random_state:{index}": variable for index, variable in enumerate(states)}
    taken = collections.Counter()
    for group, variables, root in (
        ("model", model.weights, f"{model.name}/"),
        ("optimizer", model.optimizer.variables, f"{model.optimizer.name}/"),
    ):
        for variable in variables:
            path = variable.path.removeprefix(root).removeprefix(f"{model.name}_")
            name = f"{group}/{path}".replace("/", ":").replace(".", ":")
            taken[name] += 1
            named[name if taken[name] == 1 else f"{name}:{taken[name]}"] = variable
    return named
