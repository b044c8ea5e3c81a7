"""The inputs of the jobs, the same for every framework: NumPy's `RandomState` never changes.

Token ids follow open_clip: [SOT, t1..tn, EOT, 0...], where SOT and EOT are the last two ids of the
vocabulary and 0 is padding.

Shapes: B batch, H x W pixels, L tokens, V vocabulary.
"""

import json
import pathlib

import numpy as np

_NUM_SPECIAL = 2  # SOT and EOT
_LEAST_WORD = 3
CAPTION_FILE = "train.jsonl"


def random_images(batch_size, image_size, seed=0):
    """(B, H, W, 3) float32, as a preprocessor leaves them."""
    shape = (batch_size, *_pair(image_size), 3)
    return np.random.RandomState(seed).normal(size=shape).astype("float32")


def full_texts(batch_size, length, vocabulary_size, seed=0):
    """(B, L) int32 without padding."""
    shape = (batch_size, length)
    words = vocabulary_size - _NUM_SPECIAL
    token_ids = np.random.RandomState(seed).randint(_LEAST_WORD, words, size=shape)
    token_ids[:, 0], token_ids[:, -1] = words, words + 1
    return token_ids.astype("int32")


def real_captions(captions_dir, count):
    """The first caption of each of the first `count` pictures of a Flickr8k folder."""
    with open(pathlib.Path(captions_dir) / CAPTION_FILE, encoding="utf-8") as file:
        return [json.loads(next(file))["captions"][0] for _ in range(count)]


def framed_texts(tokens, length, vocabulary_size):
    """(B, L) int32 of lists of CLIP's ids, which a smaller vocabulary folds into its own."""
    words = vocabulary_size - _NUM_SPECIAL
    token_ids = np.zeros((len(tokens), length), "int32")
    for row, ids in zip(token_ids, tokens):
        ids = [_LEAST_WORD + number % (words - _LEAST_WORD) for number in ids[: length - 2]]
        row[: len(ids) + 2] = [words, *ids, words + 1]
    return token_ids


def trim(token_ids, multiple):
    """Without the padding that all rows end with, up to a multiple of `multiple` tokens."""
    longest = int((token_ids != 0).sum(axis=1).max())
    return token_ids[:, : min(-(-longest // multiple) * multiple, token_ids.shape[1])]


def next_tokens(token_ids):
    """Targets (B, L) of the captioning loss; the last token has none, which is padding."""
    return np.pad(token_ids[:, 1:], ((0, 0), (0, 1)))


def _pair(size):
    return (size, size) if isinstance(size, int) else tuple(size)
