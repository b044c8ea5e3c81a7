"""Models for the evaluators' tests: pictures whose one colour says what they show."""

import numpy as np


class LookupDualEncoder:
    """Embeds an image by its first pixel and a text by a table; counts its calls."""

    def __init__(self, text_vectors):
        self.text_vectors = {text: np.asarray(v, "float32") for text, v in text_vectors.items()}
        self.text_batches = []

    def encode_image(self, images):
        return np.asarray(images, "float32")[:, 0, 0, :]

    def encode_text(self, texts):
        self.text_batches.append(list(texts))
        return np.stack([self.text_vectors[text] for text in texts])


class ScriptedCaptioner:
    """Writes captions[int(first value of the image)]; remembers how it was asked."""

    def __init__(self, captions):
        self.captions = captions
        self.arguments = None

    def generate(self, images, prompt=None, sampler="greedy", max_length=64):
        self.arguments = {"prompt": prompt, "sampler": sampler, "max_length": max_length}
        return [self.captions[int(image[0, 0, 0])] for image in np.asarray(images)]

    def init_cache(self, images, max_length):
        raise AssertionError("evaluation decodes through generate alone")

    def decode_step(self, token_ids, cache, index):
        raise AssertionError("evaluation decodes through generate alone")


def picture(*colour):
    """A 2x2 image of one colour."""
    return np.tile(np.asarray(colour, "float32"), (2, 2, 1))


def one_batch(pictures, texts):
    """A data set of one batch."""
    return [{"images": np.stack(pictures), "texts": texts}]
