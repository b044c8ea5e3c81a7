"""Tiny shards whose pictures and texts carry the number of their example.

Picture number n is grey of value n; a caption is "item n", a label is "n".
"""

import io

import numpy as np
from PIL import Image

from official_coca.dataloaders.example_schema import make_example
from official_coca.dataloaders.shard_writer import ShardWriter
from official_coca.dataloaders.sources import Source
from official_coca.preprocessing.augment import TrainingAugmentation

IMAGE_SIZE = 4
TEMPLATES = ("photo of {}", "the {}", "a {}")


class NumberedShards:
    """Writes sources of numbered examples, and reads numbers back from batches."""

    def __init__(self, directory, preprocessor):
        self.directory = directory
        self.preprocessor = preprocessor
        self.image_converter = preprocessor.image_converter
        self.augmentation = TrainingAugmentation(self.image_converter, flip=False)

    def source(self, name, numbers, kind="captions", share=1.0, texts=None, bad=(), shards=2):
        """Writes shards and returns their `Source`.

        Args:
            texts: function of a number to a list of texts.
            bad: numbers whose pictures are cut off.
        """
        if texts is None:
            texts = (lambda n: [str(n)]) if kind == "labels" else (lambda n: [f"item {n}"])
        with ShardWriter(self.directory, name, "train", shards) as writer:
            for number in numbers:
                image = encoded_image(number)
                image = image[:20] if number in bad else image
                writer.write(make_example(image, texts(number), name))
        pattern = str(self.directory / f"{name}-train-*.tfrecord")
        return Source(name, pattern, kind, share, TEMPLATES)

    def texts(self, token_ids):
        return [text.decode() for text in self.preprocessor.tokenizer.detokenize(token_ids).numpy()]


def encoded_image(number):
    buffer = io.BytesIO()
    Image.fromarray(np.full((IMAGE_SIZE, IMAGE_SIZE, 3), number, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def image_numbers(images):
    """Returns the numbers of normalised pictures (B,H,W,3)."""
    return np.round((np.asarray(images)[:, 0, 0, 0] + 1) * 127.5).astype(int).tolist()


def text_numbers(texts):
    """Returns the numbers that end texts."""
    return [int(text.split()[-1]) for text in texts]
