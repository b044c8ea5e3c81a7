"""The configuration of an experiment: Model Garden's names, our own checks.

An experiment is a registered function that returns an `ExperimentConfig`. A YAML file or
`--params_override` changes single keys. A list of sections given there with as many elements as
the list it meets changes the keys it names, element by element; with another number of elements
it replaces the list.
"""

import dataclasses

from official.core import exp_factory

from official_coca.configs.strict_config import (
    OpenConfig,
    StrictConfig,
    check_types_and_values,
    choice,
    number,
)
from official_coca.errors import InvalidInputError

EVALUATION_TASKS = ("zero_shot", "retrieval", "captioning")

_EXPERIMENT_NAMES = []


def register_experiment(name):
    """Decorates a function that returns an `ExperimentConfig`; `--experiment=NAME` finds it."""
    _EXPERIMENT_NAMES.append(name)
    return exp_factory.register_config_factory(name)


def experiment_names():
    """The names that `--experiment` can take, in the order of registration."""
    return tuple(_EXPERIMENT_NAMES)


@dataclasses.dataclass
class ModelConfig(StrictConfig):
    """Which model to train.

    Attributes:
        preset: built-in name, directory, hf:// or kaggle:// handle.
        load_weights: start from the weights of the preset instead of random ones.
        tokenizer: path of a SentencePiece model; null takes the one of the preset.
        overrides: constructor arguments of the model that differ from the preset. The size of
            the vocabulary is the tokenizer's unless it is named here.
    """

    preset: str = "coca_base"
    load_weights: bool = False
    tokenizer: str | None = None
    overrides: OpenConfig = dataclasses.field(default_factory=OpenConfig)


@dataclasses.dataclass
class SourceConfig(StrictConfig):
    """One source of the training mixture.

    Attributes:
        name: prefix of the metrics of this source.
        pattern: glob of its TFRecord shards.
        kind: "labels" (label names become a sentence through a template) or "captions".
        share: its part of each batch, relative to the shares of the other sources.
        templates: sentences with {} in the place of the label names.
        template_file: a text file with one template a line, instead of `templates`.
    """

    name: str = ""
    pattern: str = ""
    kind: str = choice("captions", ("labels", "captions"))
    share: float = number(1.0, minimum=0.0)
    templates: list[str] = dataclasses.field(default_factory=lambda: ["a photo of the {}"])
    template_file: str | None = None


@dataclasses.dataclass
class AugmentationConfig(StrictConfig):
    """How a training image is changed at random.

    Attributes:
        resize_size: side to which an image is resized before a random crop; null for no crop.
        horizontal_flip: mirror half of the images.
        randaugment_layers: number of RandAugment operations; 0 for none.
        randaugment_magnitude: strength of RandAugment, 0 to 10.
    """

    resize_size: int | None = number(None, minimum=1)
    horizontal_flip: bool = True
    randaugment_layers: int = number(0, minimum=0)
    randaugment_magnitude: float = number(10.0, minimum=0.0, maximum=10.0)


@dataclasses.dataclass
class TrainDataConfig(StrictConfig):
    """The mixture that the model trains on.

    Attributes:
        sources: the sources.
        global_batch_size: examples in a step, over all replicas.
        mixture: "fixed_shares" gives each source the same number of rows of every batch, "sample"
            draws the source of every row.
        shuffle_buffer_size: examples of a source among which the next one is drawn.
        length_buckets: lengths to which batches of captions are padded; empty always pads to the
            model's max_length.
        maximum_bad_share: stop when more than this part of a source cannot be decoded.
        augmentation: see there.
    """

    sources: list[SourceConfig] = dataclasses.field(default_factory=list)
    global_batch_size: int = number(64, minimum=1)
    mixture: str = choice("fixed_shares", ("fixed_shares", "sample"))
    shuffle_buffer_size: int = number(10_000, minimum=1)
    length_buckets: list[int] = dataclasses.field(default_factory=list)
    maximum_bad_share: float = number(0.05, minimum=0.0, maximum=1.0)
    augmentation: AugmentationConfig = dataclasses.field(default_factory=AugmentationConfig)


@dataclasses.dataclass
class EvaluationConfig(StrictConfig):
    """One evaluation.

    Attributes:
        name: prefix of its metrics.
        task: what to measure.
        pattern: glob of TFRecord shards.
        class_names: for "zero_shot", a text file with one class name a line.
        templates: for "zero_shot", sentences with {} in the place of the class name.
        sampler: for "captioning", how captions are decoded.
        max_examples: use no more than the first examples; null for all.
    """

    name: str = ""
    task: str = choice("retrieval", EVALUATION_TASKS)
    pattern: str = ""
    class_names: str | None = None
    templates: list[str] = dataclasses.field(default_factory=lambda: ["a photo of the {}"])
    sampler: str = choice("greedy", ("greedy", "beam"))
    max_examples: int | None = number(None, minimum=1)


@dataclasses.dataclass
class ValidationDataConfig(StrictConfig):
    """What is measured every `trainer.validation_interval` steps and at the end."""

    evaluations: list[EvaluationConfig] = dataclasses.field(default_factory=list)
    global_batch_size: int = number(64, minimum=1)


@dataclasses.dataclass
class LossConfig(StrictConfig):
    """Weights of the two losses and settings of the contrastive one.

    The defaults are those of CoCa section 4.1: lambda_con 1, lambda_cap 2, temperature 0.07.
    `positives="same_text"` counts all images of a batch with the same text as right answers.
    """

    contrastive_weight: float = number(1.0, minimum=0.0)
    captioning_weight: float = number(2.0, minimum=0.0)
    positives: str = choice("pair", ("pair", "same_text"))
    initial_temperature: float = number(0.07, minimum=1e-4)


@dataclasses.dataclass
class TaskConfig(StrictConfig):
    """What is learnt from which data."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    losses: LossConfig = dataclasses.field(default_factory=LossConfig)
    train_data: TrainDataConfig = dataclasses.field(default_factory=TrainDataConfig)
    validation_data: ValidationDataConfig = dataclasses.field(
        default_factory=ValidationDataConfig
    )


@dataclasses.dataclass
class OptimizerConfig(StrictConfig):
    """The optimizer; see `optimization/build.py`."""

    type: str = choice("adamw", ("adamw", "adafactor", "sgd"))
    beta_1: float = number(0.9, minimum=0.0, maximum=1.0)
    beta_2: float = number(0.999, minimum=0.0, maximum=1.0)
    weight_decay: float = number(0.01, minimum=0.0)
    global_clipnorm: float | None = number(None, minimum=0.0)


@dataclasses.dataclass
class LearningRateConfig(StrictConfig):
    """The learning rate over time; see `optimization/schedules.py`."""

    type: str = choice("linear", ("constant", "linear", "cosine"))
    peak_learning_rate: float = number(8e-4, minimum=0.0)
    final_learning_rate: float = number(0.0, minimum=0.0)
    warmup_steps: int = number(0, minimum=0)


@dataclasses.dataclass
class OptimizationConfig(StrictConfig):
    """How the weights move. `ema_momentum`: average the weights for evaluation; null for not."""

    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    learning_rate: LearningRateConfig = dataclasses.field(default_factory=LearningRateConfig)
    ema_momentum: float | None = number(None, minimum=0.0, maximum=1.0)


@dataclasses.dataclass
class TrainerConfig(StrictConfig):
    """How long to train and how often to stop for something, all in steps.

    Attributes:
        train_steps: length of the training.
        checkpoint_interval: steps between two checkpoints.
        max_to_keep: checkpoints that are kept.
        validation_interval: steps between two evaluations, a multiple of checkpoint_interval; 0
            evaluates only at the end.
        summary_interval: steps between two rows of the training log.
        steps_per_loop: steps that one call of the compiled function runs.
        optimizer_config: see there.
    """

    train_steps: int = number(1000, minimum=1)
    checkpoint_interval: int = number(1000, minimum=1)
    max_to_keep: int = number(3, minimum=1)
    validation_interval: int = number(0, minimum=0)
    summary_interval: int = number(100, minimum=1)
    steps_per_loop: int = number(1, minimum=1)
    optimizer_config: OptimizationConfig = dataclasses.field(default_factory=OptimizationConfig)


@dataclasses.dataclass
class RuntimeConfig(StrictConfig):
    """Where and in which precision the program runs.

    Attributes:
        distribution_strategy: as in Model Garden's `distribute_utils`.
        num_gpus: GPUs to use; null takes all there are (one_device: the first).
        tpu: Model Garden's parser writes it; must stay null.
        enable_xla: compile the step with XLA; null lets the model decide.
        mixed_precision_dtype: dtype in which layers compute; weights stay float32.
        seed: of the first weights and of every draw of the input pipeline.
    """

    distribution_strategy: str = choice(
        "one_device", ("off", "one_device", "mirrored")
    )
    num_gpus: int | None = number(None, minimum=0)
    tpu: str | None = None
    enable_xla: bool | None = None
    mixed_precision_dtype: str = choice("float32", ("float32", "bfloat16"))
    seed: int = number(0, minimum=0)


@dataclasses.dataclass
class ExperimentConfig(StrictConfig):
    """A whole experiment."""

    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    trainer: TrainerConfig = dataclasses.field(default_factory=TrainerConfig)
    runtime: RuntimeConfig = dataclasses.field(default_factory=RuntimeConfig)

    def validate(self):
        """Checks types, single values and the values that belong together."""
        super().validate()
        check_types_and_values(self)
        trainer = self.trainer
        for key in ("checkpoint_interval", "train_steps", "summary_interval"):
            _must_be_multiple(trainer, key, "steps_per_loop")
        _must_be_multiple(trainer, "validation_interval", "checkpoint_interval")
        _must_be_distinct("task.train_data.sources", self.task.train_data.sources)
        _must_be_distinct("task.validation_data.evaluations", self.task.validation_data.evaluations)


def _must_be_multiple(trainer, key, of):
    value, factor = getattr(trainer, key), getattr(trainer, of)
    if value % factor:
        raise InvalidInputError(
            f"config key trainer.{key}={value}: must be a multiple of trainer.{of}={factor}"
        )


def _must_be_distinct(key, sections):
    names = [section.name for section in sections]
    for index, name in enumerate(names):
        if not name:
            raise InvalidInputError(f"config key {key}[{index}].name is empty: give it a name")
        if name in names[:index]:
            raise InvalidInputError(f"config key {key}[{index}].name={name!r}: the name is taken")
