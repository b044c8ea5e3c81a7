"""Trains and evaluates an experiment.

    python -m official_coca.train --experiment=coca_tiny_digits --mode=train_and_eval \\
        --model_dir=runs/digits [--config_file=FILE.yaml ...] [--params_override=KEY=VALUE,...]

The registered experiment comes first, then each --config_file in its order, then
--params_override. What came out is written to MODEL_DIR/params.yaml. Started again with the same
--model_dir, the program goes on from the last checkpoint; a finished run it leaves as it is.

MODEL_DIR then holds checkpoints/, training_log.csv, evaluation_log.csv, train/ and validation/ for
TensorBoard, and preset/, which CoCa.from_preset reads.
"""

import copy
import math
import os
import pathlib
import sys
import textwrap

from official_coca.program import run_program  # first: it quietens TensorFlow

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402
import yaml  # noqa: E402
from absl import flags  # noqa: E402
from official.common import flags as model_garden_flags  # noqa: E402
from official.core import train_utils  # noqa: E402

from official_coca import assembly  # noqa: E402
from official_coca.configs import coca  # noqa: E402,F401  (registers its experiments)
from official_coca.configs.experiment import experiment_names  # noqa: E402
from official_coca.dataloaders.bad_examples import (  # noqa: E402
    BadExampleCounter,
    BadExampleMonitor,
)
from official_coca.dataloaders.read_errors import explained_read_errors  # noqa: E402
from official_coca.errors import InvalidInputError  # noqa: E402
from official_coca.evaluation.callback import EvaluationCallback, averaged_weights  # noqa: E402
from official_coca.training.checkpoint import CheckpointCallback, TrainingCheckpoint  # noqa: E402
from official_coca.training.progress import ProgressLine, duration  # noqa: E402
from official_coca.training.stopping import StopAtStep, StopOnNaN  # noqa: E402
from official_coca.training.training_log import (  # noqa: E402
    TrainingLog,
    append_evaluation,
    read_evaluation_log,
    read_training_log,
)

MODES = ("train", "eval", "train_and_eval")
_MODEL_GARDEN_FLAGS = ("experiment", "model_dir", "config_file", "params_override", "tpu")


def main(arguments):
    values = parse_flags(arguments)
    if values is None:
        return
    config = parse_config(values)
    run_experiment(config, values.mode, values.model_dir)


def parse_flags(arguments):
    """The flags as Model Garden defines them, or None when only help was asked for."""
    if "experiment" not in flags.FLAGS:
        model_garden_flags.define_flags()
    # A copy of those this program reads, so that others are refused and that values do not
    # outlive a call.
    values = flags.FlagValues()
    for name in _MODEL_GARDEN_FLAGS:
        values[name] = copy.deepcopy(flags.FLAGS[name])
    flags.DEFINE_enum(
        "mode", None, MODES, "eval evaluates the last checkpoint.", flag_values=values
    )
    if any(argument in ("-h", "--help", "-help") for argument in arguments):
        print(__doc__)
        for name in ("experiment", "mode", "model_dir", "config_file", "params_override"):
            print(textwrap.fill(f"--{name}: {values[name].help}", 100, subsequent_indent="    "))
        return None
    try:
        rest = values(["train", *arguments])[1:]
    except flags.Error as error:
        raise InvalidInputError(f"{error} (--help shows the flags)") from None
    if rest:
        raise InvalidInputError(f"{rest[0]!r} is no flag; flags have the form --name=value")
    if values.tpu:
        raise InvalidInputError(f"--tpu={values.tpu}: TPUs are not supported; leave it out")
    for name in ("experiment", "mode", "model_dir"):
        if not values[name].value:
            raise InvalidInputError(f"the flag --{name} is missing (--help shows the flags)")
    return values


def parse_config(values):
    """The checked `ExperimentConfig` of the flags."""
    if values.experiment not in experiment_names():
        raise InvalidInputError(
            f"unknown experiment {values.experiment!r}; choose one of "
            f"{', '.join(experiment_names())}"
        )
    for path in values.config_file or []:
        if not os.path.isfile(path):
            raise InvalidInputError(f"--config_file={path}: there is no such file")
    try:
        return train_utils.parse_configuration(values, lock_return=True, print_return=False)
    except InvalidInputError:
        raise
    except (
        yaml.YAMLError, tf.errors.NotFoundError, KeyError, TypeError, ValueError, AttributeError
    ) as error:  # fmt: skip
        # What Model Garden's parser raises on text that is no YAML, no KEY=VALUE list, no file.
        texts = [f"--config_file={path}" for path in values.config_file or []]
        if values.params_override:
            texts.append(f"--params_override={values.params_override}")
        reason = getattr(error, "message", error)
        raise InvalidInputError(
            f"cannot read {' '.join(texts)} as YAML, KEY=VALUE,... or the name of a file: {reason}"
        ) from None


def run_experiment(config, mode, model_dir):
    """Runs a checked `ExperimentConfig`.

    Args:
        config: an `ExperimentConfig`.
        mode: "train", "eval" (evaluates the last checkpoint) or "train_and_eval".
        model_dir: directory of everything that is written.

    Returns:
        {"model": the model with its final weights, averaged ones if the config asks for them,
         "step": finished steps, "seconds": time of training, "evaluation": {metric: value} of the
         last step, empty for the mode "train"}.
    """
    model_dir = pathlib.Path(model_dir)
    if model_dir.exists() and not model_dir.is_dir():
        raise InvalidInputError(f"--model_dir={model_dir} is a file; name a directory")
    # For the first weights; the input pipeline has seeds of its own.
    keras.utils.set_random_seed(config.runtime.seed)
    assembly.set_precision(config.runtime)
    with assembly.build_strategy(config.runtime).scope():
        model = assembly.build_model(config.task)
        assembly.compile_model(model, config)
        checkpoint = TrainingCheckpoint(
            model, model_dir / "checkpoints", config.trainer.max_to_keep
        )
        path = checkpoint.restore_latest()
    evaluators = {}
    if mode != "train":
        evaluators = assembly.build_evaluators(config.task.validation_data, model.preprocessor)
    if mode == "eval":
        return _evaluate_checkpoint(model, checkpoint, path, evaluators, model_dir)

    print(
        f"{type(model).__name__} with {model.count_params():,} parameters, "
        f"{config.trainer.train_steps:,} steps of {config.task.train_data.global_batch_size:,}"
    )
    if path is not None:
        print(f"going on from {path}: step {checkpoint.step:,}, epoch {checkpoint.epoch:,}")
        _print_changes(model_dir / "params.yaml", config)
    train_utils.serialize_config(config, str(model_dir))
    if checkpoint.step < config.trainer.train_steps:
        _fit(model, checkpoint, config, evaluators, model_dir)
    else:
        print(f"the training is finished: step {checkpoint.step:,}")
    return _finish(model, checkpoint, evaluators, model_dir)


def _fit(model, checkpoint, config, evaluators, model_dir):
    """Trains from the step of the checkpoint to the end."""
    trainer, train_data = config.trainer, config.task.train_data
    start_step, start_epoch = checkpoint.step, checkpoint.epoch
    epochs = start_epoch + math.ceil(
        (trainer.train_steps - start_step) / trainer.checkpoint_interval
    )
    bad_examples = BadExampleCounter([source.name for source in train_data.sources])
    dataset = assembly.build_training_dataset(
        train_data,
        model.preprocessor,
        seed=config.runtime.seed,
        start_step=start_step,
        bad_examples=bad_examples,
    )
    epochs_between = trainer.validation_interval // trainer.checkpoint_interval or epochs
    batch_size = train_data.global_batch_size
    shown = ("loss", "contrastive_loss", "captioning_loss")
    callbacks = [
        StopAtStep(trainer.train_steps, start_step),
        StopOnNaN(start_step),
        BadExampleMonitor(bad_examples, train_data.maximum_bad_share),
        ProgressLine(trainer.train_steps, batch_size, start_step, shown),
        # Before the evaluations: a kill during one loses no step.
        CheckpointCallback(checkpoint),
        *(
            EvaluationCallback(evaluator, name, epochs_between)
            for name, evaluator in evaluators.items()
        ),
        TrainingLog(
            model_dir, batch_size, trainer.summary_interval, start_step, tuple(evaluators)
        ),
    ]
    sources = assembly.build_sources(train_data)
    sources += [
        assembly.evaluation_source(evaluation.task, evaluation.pattern)
        for evaluation in config.task.validation_data.evaluations
        if evaluation.name in evaluators
    ]
    with explained_read_errors(sources):
        model.fit(
            dataset,
            initial_epoch=start_epoch,
            epochs=epochs,
            steps_per_epoch=trainer.checkpoint_interval,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )


def _finish(model, checkpoint, evaluators, model_dir):
    """What is left to do after the last step; a run that was killed here makes up for it."""
    step = checkpoint.step
    evaluation = read_evaluation_log(model_dir).get(step, {})
    # After `fit` these are the weights already; a finished run comes from its checkpoint.
    model.optimizer.finalize_variable_values(model.trainable_variables)
    if evaluators and not evaluation:
        evaluation = _evaluate(model, evaluators)
        append_evaluation(model_dir, step, evaluation)
    preset = model_dir / "preset"
    if not _is_newer(preset / "metadata.json", model_dir / "checkpoints" / "checkpoint"):
        model.save_to_preset(preset)
    rows = read_training_log(model_dir)
    seconds = rows[-1]["seconds"] if rows else 0.0
    print(f"trained {step:,} steps in {duration(seconds)}; the model is in {preset}")
    _print_metrics(evaluation)
    return {"model": model, "step": step, "seconds": seconds, "evaluation": evaluation}


def _evaluate_checkpoint(model, checkpoint, path, evaluators, model_dir):
    """The mode "eval"."""
    if path is None:
        raise InvalidInputError(
            f"--model_dir={model_dir} has no checkpoint to evaluate; train first, or give "
            "official_coca.evaluate a preset"
        )
    if not evaluators:
        raise InvalidInputError(
            "task.validation_data.evaluations is empty: there is nothing to evaluate"
        )
    print(f"evaluating {path}: step {checkpoint.step:,}")
    with averaged_weights(model):
        evaluation = _evaluate(model, evaluators)
    append_evaluation(model_dir, checkpoint.step, evaluation)
    _print_metrics(evaluation)
    return {"model": model, "step": checkpoint.step, "seconds": 0.0, "evaluation": evaluation}


def _evaluate(model, evaluators):
    return {
        f"{name}_{metric}": value
        for name, evaluator in evaluators.items()
        for metric, value in evaluator(model).items()
    }


def _print_metrics(metrics):
    for name, value in metrics.items():
        print(f"  {name:<40} {value:.4f}")


def _print_changes(path, config):
    """Says what differs between the config that a run began with and the one it goes on with."""
    if not path.exists():
        return
    before = _flat(yaml.safe_load(path.read_text(encoding="utf-8")))
    after = _flat(config.as_dict())
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            print(f"config changed: {key} {before.get(key)!r} -> {after.get(key)!r}")


def _flat(value, path=""):
    """{"a": {"b": [1]}} -> {"a.b[0]": 1}."""
    if isinstance(value, dict):
        items = [(f"{path}.{key}" if path else key, element) for key, element in value.items()]
    elif isinstance(value, (list, tuple)):
        items = [(f"{path}[{index}]", element) for index, element in enumerate(value)]
    else:
        return {path: value}
    return {key: leaf for name, element in items for key, leaf in _flat(element, name).items()}


def _is_newer(path, other):
    return path.exists() and path.stat().st_mtime >= other.stat().st_mtime


if __name__ == "__main__":
    sys.exit(run_program(main))
