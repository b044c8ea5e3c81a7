"""Registered experiments of CoCa.

Section numbers are those of the paper (Yu et al. 2022, arXiv 2205.01917v2).
"""

from official_coca.configs.experiment import (
    AugmentationConfig,
    EvaluationConfig,
    ExperimentConfig,
    LearningRateConfig,
    LossConfig,
    ModelConfig,
    OptimizationConfig,
    OptimizerConfig,
    RuntimeConfig,
    SourceConfig,
    TaskConfig,
    TrainDataConfig,
    TrainerConfig,
    ValidationDataConfig,
    register_experiment,
)
from official_coca.configs.strict_config import OpenConfig

# One template: with `positives="same_text"` the same label in other words would count as a wrong
# answer, and no image can tell which words were drawn.
_DIGIT_TEMPLATES = ("a photo of the digit {}",)


@register_experiment("coca_tiny_digits")
def coca_tiny_digits():
    """The demo: the embedded handwritten digits, minutes on two cores.

    `make demo` makes the shards and the vocabulary that it reads.
    """
    data = "runs/demo/data"
    return ExperimentConfig(
        task=TaskConfig(
            model=ModelConfig(
                preset="coca_tiny",
                tokenizer=f"{data}/vocabulary.model",
                # One length for all batches: XLA compiles once. 1 caption in 1,000 is cut.
                overrides=OpenConfig({"max_length": 16}),
            ),
            # Captions decide what is learnt last, the digits of a scene: they weigh more than the
            # paper's 2.
            losses=LossConfig(positives="same_text", captioning_weight=8.0),
            train_data=TrainDataConfig(
                sources=[
                    SourceConfig(
                        name="labels",
                        pattern=f"{data}/labels-train-*.tfrecord",
                        kind="labels",
                        templates=list(_DIGIT_TEMPLATES),
                    ),
                    SourceConfig(
                        name="scenes", pattern=f"{data}/scenes-train-*.tfrecord", share=3
                    ),
                ],
                global_batch_size=32,
                # A mirrored digit is another digit, or none.
                augmentation=AugmentationConfig(horizontal_flip=False),
            ),
            validation_data=ValidationDataConfig(
                evaluations=[
                    EvaluationConfig(
                        name="zero_shot",
                        task="zero_shot",
                        pattern=f"{data}/labels-test-*.tfrecord",
                        class_names=f"{data}/classes.txt",
                        templates=list(_DIGIT_TEMPLATES),
                    ),
                    EvaluationConfig(
                        name="retrieval",
                        task="retrieval",
                        pattern=f"{data}/scenes-test-*.tfrecord",
                    ),
                    EvaluationConfig(
                        name="captions",
                        task="captioning",
                        pattern=f"{data}/scenes-test-*.tfrecord",
                    ),
                ],
                global_batch_size=100,
            ),
        ),
        trainer=TrainerConfig(
            train_steps=5000,
            checkpoint_interval=1000,
            validation_interval=2000,
            summary_interval=100,
            optimizer_config=OptimizationConfig(
                optimizer=OptimizerConfig(
                    type="adamw", beta_2=0.98, weight_decay=0.05, global_clipnorm=1.0
                ),
                learning_rate=LearningRateConfig(
                    type="cosine", peak_learning_rate=1e-3, warmup_steps=200
                ),
            ),
        ),
        # Worth its compilation: thousands of small steps of one shape (benchmarks/README.md).
        runtime=RuntimeConfig(enable_xla=True),
    )


@register_experiment("coca_small_photos")
def coca_small_photos():
    """Real photographs on two cores: captions, labels and alt-text in one mixture.

    `data/README.md` says how to make the shards and the vocabulary.
    """
    data = "runs/photos/data"
    return ExperimentConfig(
        task=TaskConfig(
            model=ModelConfig(
                preset="coca_tiny",
                tokenizer=f"{data}/vocabulary.model",
                overrides=OpenConfig(
                    {
                        "image_size": 64,
                        "patch_size": 8,
                        "image_num_layers": 4,
                        "num_queries": 32,
                        "unimodal_num_layers": 2,
                        "multimodal_num_layers": 2,
                        "text_hidden_dim": 128,
                        "text_mlp_dim": 512,
                    }
                ),
            ),
            losses=LossConfig(positives="same_text"),
            train_data=TrainDataConfig(
                sources=[
                    SourceConfig(
                        name="flickr8k", pattern=f"{data}/flickr8k-train-*.tfrecord", share=2
                    ),
                    SourceConfig(
                        name="cifar10", pattern=f"{data}/cifar10-train-*.tfrecord", kind="labels"
                    ),
                    SourceConfig(
                        name="caltech101",
                        pattern=f"{data}/caltech101-train-*.tfrecord",
                        kind="labels",
                    ),
                    SourceConfig(name="ikea", pattern=f"{data}/ikea-train-*.tfrecord"),
                ],
                global_batch_size=80,
                length_buckets=[8, 16, 24, 32],
                augmentation=AugmentationConfig(resize_size=72),
            ),
            validation_data=ValidationDataConfig(
                evaluations=[
                    EvaluationConfig(
                        name="cifar10",
                        task="zero_shot",
                        pattern=f"{data}/cifar10-val-*.tfrecord",
                        class_names=f"{data}/cifar10_classes.txt",
                    ),
                    EvaluationConfig(
                        name="caltech101",
                        task="zero_shot",
                        pattern=f"{data}/caltech101-val-*.tfrecord",
                        class_names=f"{data}/caltech101_classes.txt",
                    ),
                    EvaluationConfig(
                        name="retrieval",
                        task="retrieval",
                        pattern=f"{data}/flickr8k-val-*.tfrecord",
                    ),
                    EvaluationConfig(
                        name="captions",
                        task="captioning",
                        pattern=f"{data}/flickr8k-val-*.tfrecord",
                    ),
                ],
                global_batch_size=100,
            ),
        ),
        trainer=TrainerConfig(
            train_steps=2000,
            checkpoint_interval=500,
            validation_interval=1000,
            summary_interval=50,
            optimizer_config=OptimizationConfig(
                optimizer=OptimizerConfig(type="adamw", weight_decay=0.05, global_clipnorm=1.0),
                learning_rate=LearningRateConfig(
                    type="cosine", peak_learning_rate=1e-3, warmup_steps=200
                ),
            ),
        ),
    )


@register_experiment("coca_base_pretrain")
def coca_base_pretrain():
    """CoCa-Base with the recipe of the giant model."""
    return _paper_pretraining("coca_base")


@register_experiment("coca_large_pretrain")
def coca_large_pretrain():
    """CoCa-Large with the recipe of the giant model."""
    return _paper_pretraining("coca_large")


@register_experiment("coca_giant_pretrain")
def coca_giant_pretrain():
    """The paper's model, 2.1 billion parameters."""
    return _paper_pretraining("coca_giant")


def _paper_pretraining(preset):
    """Section 4.1, "Data" and "Optimization": half JFT-3B, half ALIGN.

    Neither data set is public: name your own shards, one source of labels and one of alt-text,
    and a SentencePiece vocabulary of 64,000 pieces (section 4.1, "Data").
    """
    train_steps = 500_000  # section 4.1: 500k steps
    return ExperimentConfig(
        task=TaskConfig(
            model=ModelConfig(preset=preset, tokenizer="data/vocabulary.model"),
            # Section 4.1: lambda_con 1, lambda_cap 2, temperature from 0.07.
            losses=LossConfig(
                contrastive_weight=1.0,
                captioning_weight=2.0,
                positives="pair",
                initial_temperature=0.07,
            ),
            train_data=TrainDataConfig(
                # Section 4.1: half of each batch from JFT, half from ALIGN.
                sources=[
                    SourceConfig(
                        name="labels",
                        pattern="data/labels-train-*.tfrecord",
                        kind="labels",
                        # Section 4.1: prompts of CLIP, drawn at random.
                        template_file="data/prompts/clip_imagenet_80.txt",
                    ),
                    SourceConfig(name="alt_text", pattern="data/alt_text-train-*.tfrecord"),
                ],
                global_batch_size=65_536,  # section 4.1
                length_buckets=[16, 32, 64],
                # CoCa states no augmentation; this is ALIGN's (Jia et al. 2021, section 5.1):
                # resize to 346, random crop (289 there, 288 here), random flip.
                augmentation=AugmentationConfig(resize_size=346, horizontal_flip=True),
            ),
        ),
        trainer=TrainerConfig(
            train_steps=train_steps,
            checkpoint_interval=2_500,
            summary_interval=500,
            optimizer_config=OptimizationConfig(
                # Section 4.1: Adafactor, b1 0.9, b2 0.999, decoupled weight decay 0.01.
                optimizer=OptimizerConfig(
                    type="adafactor", beta_1=0.9, beta_2=0.999, weight_decay=0.01
                ),
                # Section 4.1: 2% of the steps up to 8e-4, then linearly down.
                learning_rate=LearningRateConfig(
                    type="linear", peak_learning_rate=8e-4, warmup_steps=train_steps // 50
                ),
            ),
        ),
    )
