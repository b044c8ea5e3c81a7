"""Turns the config of an experiment into a model, data, an optimizer and evaluators.

The one place where names of the configuration meet the packages that do the work, which take
plain values.
"""

import inspect
import pathlib

import keras
import tensorflow as tf
from official.common import distribute_utils

from official_coca.dataloaders.pipeline import evaluation_dataset, training_dataset
from official_coca.dataloaders.sources import Source
from official_coca.errors import InvalidInputError
from official_coca.evaluation.captioning import CaptioningEvaluator
from official_coca.evaluation.retrieval import RetrievalEvaluator
from official_coca.evaluation.zero_shot import ZeroShotEvaluator
from official_coca.models.coca import CoCa
from official_coca.optimization.build import (
    build_learning_rate,
    build_optimizer,
    variables_without_weight_decay,
)
from official_coca.preprocessing.augment import TrainingAugmentation
from official_coca.preprocessing.image import ImageConverter
from official_coca.preprocessing.preprocessor import ImageTextPreprocessor
from official_coca.preprocessing.prompts import load_templates
from official_coca.preprocessing.tokenizer import SentencePieceTokenizer


def build_strategy(runtime):
    """The `tf.distribute.Strategy` of a `RuntimeConfig`."""
    num_gpus = runtime.num_gpus
    if num_gpus is None:
        num_gpus = len(tf.config.list_physical_devices("GPU"))
        if runtime.distribution_strategy != "mirrored":
            num_gpus = min(num_gpus, 1)
    try:
        return distribute_utils.get_distribution_strategy(
            runtime.distribution_strategy, num_gpus=num_gpus
        )
    except ValueError as error:
        raise InvalidInputError(
            f"runtime.distribution_strategy={runtime.distribution_strategy!r} with "
            f"runtime.num_gpus={runtime.num_gpus}: {error}"
        ) from None


def build_model(task):
    """The model of a `TaskConfig` with its preprocessor, not compiled."""
    overrides = _checked_overrides(task.model.overrides.as_dict())
    tokenizer = None
    if task.model.tokenizer:
        tokenizer = SentencePieceTokenizer(task.model.tokenizer)
        overrides.setdefault("vocabulary_size", tokenizer.vocabulary_size)
        if overrides["vocabulary_size"] < tokenizer.vocabulary_size:
            raise InvalidInputError(
                f"task.model.overrides.vocabulary_size={overrides['vocabulary_size']} is below "
                f"the {tokenizer.vocabulary_size} pieces of {task.model.tokenizer}; leave it out"
            )
        overrides.update(
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    losses = task.losses
    model = CoCa.from_preset(
        task.model.preset,
        load_weights=task.model.load_weights,
        contrastive_loss_weight=losses.contrastive_weight,
        captioning_loss_weight=losses.captioning_weight,
        positives=losses.positives,
        initial_temperature=losses.initial_temperature,
        **overrides,
    )
    if tokenizer is None:
        if model.preprocessor is None:
            raise InvalidInputError(
                f"task.model.preset={task.model.preset!r} has no tokenizer: set "
                "task.model.tokenizer to a SentencePiece model (data/train_sentencepiece.py)"
            )
        tokenizer = model.preprocessor.tokenizer
    converter = ImageConverter(model.image_size)
    if model.preprocessor is not None:
        converter = ImageConverter.from_config(
            {**model.preprocessor.image_converter.get_config(), "image_size": model.image_size}
        )
    model.preprocessor = ImageTextPreprocessor(
        tokenizer,
        converter,
        max_length=model.max_length,
        length_buckets=tuple(task.train_data.length_buckets),
    )
    return model


def build_model_optimizer(model, trainer):
    """The optimizer of a `TrainerConfig` for a built model."""
    config = trainer.optimizer_config
    learning_rate = build_learning_rate(
        config.learning_rate.type,
        config.learning_rate.peak_learning_rate,
        warmup_steps=config.learning_rate.warmup_steps,
        total_steps=trainer.train_steps,
        final_learning_rate=config.learning_rate.final_learning_rate,
    )
    return build_optimizer(
        config.optimizer.type,
        learning_rate,
        beta_1=config.optimizer.beta_1,
        beta_2=config.optimizer.beta_2,
        weight_decay=config.optimizer.weight_decay,
        not_decayed=variables_without_weight_decay(model.trainable_variables),
        global_clipnorm=config.optimizer.global_clipnorm,
        ema_momentum=config.ema_momentum,
    )


def compile_model(model, experiment):
    """Compiles the model with the optimizer and runtime of an `ExperimentConfig`."""
    enable_xla = experiment.runtime.enable_xla
    model.compile(
        build_model_optimizer(model, experiment.trainer),
        source_names=[source.name for source in experiment.task.train_data.sources],
        jit_compile="auto" if enable_xla is None else enable_xla,
        steps_per_execution=experiment.trainer.steps_per_loop,
    )


def set_precision(runtime):
    """Sets the dtype policy of the layers built from here on.

    Model Garden's `performance.set_mixed_precision_policy` sets the policy of Keras 2 only.
    """
    dtype = runtime.mixed_precision_dtype
    keras.config.set_dtype_policy("float32" if dtype == "float32" else f"mixed_{dtype}")


def build_sources(train_data):
    """The sources of a `TrainDataConfig`."""
    if not train_data.sources:
        raise InvalidInputError("task.train_data.sources is empty: name at least one source")
    return [
        Source(
            name=source.name,
            pattern=source.pattern,
            kind=source.kind,
            share=source.share,
            templates=load_templates(source.template_file)
            if source.template_file
            else tuple(source.templates),
        )
        for source in train_data.sources
    ]


def build_training_dataset(train_data, preprocessor, *, seed, start_step, bad_examples):
    """The endless training batches of a `TrainDataConfig`, from step `start_step` on."""
    augmentation = TrainingAugmentation(
        preprocessor.image_converter,
        resize_size=train_data.augmentation.resize_size,
        flip=train_data.augmentation.horizontal_flip,
        rand_augment_num_layers=train_data.augmentation.randaugment_layers,
        rand_augment_magnitude=train_data.augmentation.randaugment_magnitude,
    )
    return training_dataset(
        build_sources(train_data),
        preprocessor,
        augmentation,
        batch_size=train_data.global_batch_size,
        seed=seed,
        mode=train_data.mixture,
        shuffle_buffer=train_data.shuffle_buffer_size,
        start_step=start_step,
        bad_examples=bad_examples,
    )


def evaluation_source(task, pattern):
    """The source that an evaluation reads."""
    return Source(name=task, pattern=pattern, kind="labels" if task == "zero_shot" else "captions")


def evaluation_images(task, pattern, preprocessor, batch_size):
    """The batches of images (B, H, W, 3) that an evaluation sees, in its order."""
    dataset = evaluation_dataset(
        evaluation_source(task, pattern), preprocessor.image_converter, batch_size
    )
    return (batch["images"].numpy() for batch in dataset)


def build_evaluators(validation_data, preprocessor):
    """The evaluators of a `ValidationDataConfig` by name."""
    return {
        evaluation.name: build_evaluator(
            evaluation.task,
            evaluation.pattern,
            preprocessor,
            batch_size=validation_data.global_batch_size,
            class_names=evaluation.class_names,
            templates=evaluation.templates,
            max_examples=evaluation.max_examples,
            # Java's tokenizer takes seconds to start; a score for a paper comes from evaluate.py.
            use_java=False,
            sampler=evaluation.sampler,
        )
        for evaluation in validation_data.evaluations
    }


def build_evaluator(
    task,
    pattern,
    preprocessor,
    *,
    batch_size,
    class_names=None,
    templates=("a photo of the {}",),
    max_examples=None,
    use_java=True,
    verbose=False,
    **generate_arguments,
):
    """The evaluator of one task: called with a model, it returns {metric: value}.

    Args:
        task: "zero_shot", "retrieval" or "captioning".
        pattern: glob of TFRecord shards.
        preprocessor: of the model that will be evaluated.
        batch_size: images at a time.
        class_names: for "zero_shot", a text file with one name a line.
        templates: for "zero_shot".
        max_examples: use no more than the first examples; None for all.
        use_java: for "captioning".
        verbose: show progress.
        **generate_arguments: for "captioning", passed on to `model.generate`.
    """
    source = evaluation_source(task, pattern)
    dataset = evaluation_dataset(source, preprocessor.image_converter, batch_size)
    if max_examples is not None:
        dataset = dataset.unbatch().take(max_examples).batch(batch_size)
    if task == "zero_shot":
        if class_names is None:
            raise InvalidInputError(
                "zero_shot needs class_names, a text file with one class name a line"
            )
        return ZeroShotEvaluator(
            dataset,
            read_lines(class_names, "class_names"),
            templates,
            class_file=class_names,
            verbose=verbose,
        )
    if task == "retrieval":
        return RetrievalEvaluator(dataset, verbose=verbose)
    return CaptioningEvaluator(dataset, use_java=use_java, verbose=verbose, **generate_arguments)


def read_lines(path, what):
    """The non-empty lines of a text file."""
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InvalidInputError(f"{what} file {str(path)!r} cannot be read: {reason}") from None
    return [line.strip() for line in lines if line.strip()]


def _checked_overrides(overrides):
    """Overrides by name and type, as the constructor of the model declares them by its defaults."""
    parameters = inspect.signature(CoCa.__init__).parameters
    closed = {"self", "preprocessor", "kwargs", "contrastive_loss_weight"}
    closed |= {"captioning_loss_weight", "positives", "initial_temperature"}  # task.losses has them
    known = [name for name in parameters if name not in closed]
    for name, value in overrides.items():
        key = f"task.model.overrides.{name}"
        if name not in known:
            raise InvalidInputError(
                f"unknown config key {key}={value!r} (known: {', '.join(known)})"
            )
        expected, fits = _expected(name, parameters[name].default)
        if not fits(value):
            raise InvalidInputError(f"config key {key}={value!r}: expected {expected}")
    return dict(overrides)


def _expected(name, default):
    """What a constructor argument takes: words for a person, and a test."""

    def is_int(value):
        return isinstance(value, int) and not isinstance(value, bool)

    if name in ("image_size", "patch_size"):
        return "int or a list of two ints", lambda value: is_int(value) or (
            isinstance(value, (list, tuple)) and len(value) == 2 and all(map(is_int, value))
        )
    if default is None:
        return "int or null", lambda value: value is None or is_int(value)
    if isinstance(default, bool):
        return "true or false", lambda value: isinstance(value, bool)
    if isinstance(default, int):
        return "int", is_int
    return type(default).__name__, lambda value: isinstance(value, type(default))
