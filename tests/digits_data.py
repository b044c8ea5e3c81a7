"""A few handwritten digits as shards, with a vocabulary, and a config that trains on them."""

from data import make_digits
from data.train_sentencepiece import train_sentencepiece

VOCABULARY_SIZE = 120


def make_digits_data(directory):
    """Writes train and test shards, class names and a vocabulary into `directory`."""
    make_digits.make_digits(
        directory,
        shards=1,
        seed=0,
        train_labels=60,
        train_scenes=60,
        test_labels=20,
        test_scenes=12,
    )
    sentences = (directory / "captions.txt").read_text(encoding="utf-8").splitlines()
    train_sentencepiece(sentences, directory / "vocabulary.model", VOCABULARY_SIZE, "bpe")
    return directory


def tiny_config(directory):
    """Changes to the experiment coca_tiny_digits: a model of some thousand weights, four steps."""
    return {
        "task": {
            "model": {
                "tokenizer": str(directory / "vocabulary.model"),
                "overrides": {
                    "image_size": 16,
                    "patch_size": 8,
                    "image_num_layers": 1,
                    "image_hidden_dim": 16,
                    "image_num_heads": 2,
                    "image_mlp_dim": 16,
                    "num_queries": 2,
                    "text_hidden_dim": 16,
                    "text_num_heads": 2,
                    "text_mlp_dim": 16,
                    "max_length": 12,
                },
            },
            "train_data": {
                "sources": [
                    {"pattern": str(directory / "labels-train-*")},
                    {"pattern": str(directory / "scenes-train-*")},
                ],
                "global_batch_size": 8,
                "length_buckets": [],
                "shuffle_buffer_size": 20,
            },
            "validation_data": {
                "evaluations": [
                    {
                        "pattern": str(directory / "labels-test-*"),
                        "class_names": str(directory / "classes.txt"),
                    },
                    {"pattern": str(directory / "scenes-test-*")},
                    {"pattern": str(directory / "scenes-test-*"), "max_examples": 4},
                ],
            },
        },
        "trainer": {
            "train_steps": 4,
            "checkpoint_interval": 2,
            "validation_interval": 2,
            "summary_interval": 1,
            # With a slot for each weight, but quick to trace.
            "optimizer_config": {
                "optimizer": {"type": "sgd", "global_clipnorm": None},
                "learning_rate": {"peak_learning_rate": 0.1, "warmup_steps": 1},
            },
        },
        # Compiling a step with XLA would take longer than all steps.
        "runtime": {"enable_xla": False},
    }
