"""A captioner small enough to be searched exhaustively, with a plain NumPy twin.

Its logits add up one table row per earlier token and position, so a cache that is wrong anywhere
changes them.
"""

import itertools

import numpy as np
from keras import ops

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIAL_TOKENS = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}


class ToyCaptioner:
    """The history lies one-hot in the self-attention cache, the image in the cross-attention."""

    def __init__(self, vocabulary_size=6, positions=6, num_images=2, seed=0, end_bias=0.0):
        random = np.random.default_rng(seed)
        shape = (positions, vocabulary_size, vocabulary_size)
        self.table = random.normal(size=shape).astype("float32")
        self.images = random.normal(size=(num_images, vocabulary_size)).astype("float32")
        self.images[:, EOS] += end_bias
        self.steps = 0
        self.row_counts = set()

    def cache(self, rows=None):
        images = self.images if rows is None else self.images[rows]
        positions, vocabulary_size, _ = self.table.shape
        return {
            "self_attention": (
                ops.zeros((len(images), 2, 1, positions, vocabulary_size), dtype="float32"),
            ),
            "cross_attention": (
                ops.convert_to_tensor(np.repeat(images[:, None, None, None], 2, axis=1)),
            ),
        }

    def decode_step(self, token_ids, cache, index):
        """What a model does: token (rows, 1) at `index` -> logits (rows, V), cache."""
        self.steps += 1
        history, images = cache["self_attention"][0], cache["cross_attention"][0]
        self.row_counts.add((history.shape[0], images.shape[0]))
        positions, vocabulary_size, _ = self.table.shape
        new = ops.one_hot(token_ids[:, 0], vocabulary_size, dtype="float32")
        here = ops.expand_dims(ops.arange(positions) == index, -1)
        history = ops.where(here, new[:, None, None, None, :], history)
        logits = ops.einsum("rpv,pvw->rw", history[:, 0, 0], self.table)
        grouped = ops.reshape(logits, (ops.shape(images)[0], -1, vocabulary_size))
        logits = ops.reshape(grouped + images[:, 0, 0], (-1, vocabulary_size))
        return logits, {**cache, "self_attention": (history,)}

    def log_probabilities(self, image, prefix):
        """The NumPy twin: log-probabilities (V,) of the token after `prefix`."""
        logits = self.images[image].astype("float64")
        for position, token in enumerate(prefix):
            logits = logits + self.table[position, token]
        return logits - np.log(np.sum(np.exp(logits)))

    def log_probability(self, image, sequence, prompt_length=1):
        """Of the generated tokens of `sequence`, up to and including EOS."""
        total = 0.0
        for position in range(prompt_length, len(sequence)):
            token = sequence[position]
            if token == PAD:
                break
            total += self.log_probabilities(image, sequence[:position])[token]
        return total

    def greedy(self, image, prompt, max_length, min_length=0):
        """The argmax loop, written without any cache."""
        sequence = list(prompt)
        while len(sequence) < max_length:
            scores = self.log_probabilities(image, sequence)
            scores[[PAD, BOS]] = -np.inf
            if len(sequence) < min_length:
                scores[EOS] = -np.inf
            sequence.append(int(np.argmax(scores)))
            if sequence[-1] == EOS:
                break
        return sequence + [PAD] * (max_length - len(sequence))

    def every_caption(self, image, prompt, max_length, min_length=0):
        """All (log-probability, number of generated tokens, sequence), in no order."""
        allowed = [t for t in range(self.table.shape[1]) if t not in (PAD, BOS, EOS)]
        for length in range(max_length - len(prompt) + 1):
            for words in itertools.product(allowed, repeat=length):
                sequence = [*prompt, *words]
                if len(sequence) < max_length:
                    if len(sequence) < min_length:
                        continue
                    sequence.append(EOS)
                generated = len(sequence) - len(prompt)
                score = self.log_probability(image, sequence, len(prompt))
                yield score, generated, sequence + [PAD] * (max_length - len(sequence))


class MarkovCaptioner:
    """Each token depends on the one before only: `{token: {next token: probability}}`."""

    def __init__(self, probabilities, vocabulary_size, positions=8):
        table = np.full((vocabulary_size, vocabulary_size), 1e-6)
        for token, following in probabilities.items():
            for next_token, probability in following.items():
                table[token, next_token] = probability
        self.table = np.log(table / table.sum(axis=1, keepdims=True)).astype("float32")
        self.positions = positions
        self.steps = 0

    def cache(self, num_images=1):
        return {
            "self_attention": (ops.zeros((num_images, 2, 1, self.positions, 1)),),
            "cross_attention": (ops.zeros((num_images, 2, 1, 1, 1)),),
        }

    def decode_step(self, token_ids, cache, index):
        self.steps += 1
        return ops.take(ops.convert_to_tensor(self.table), token_ids[:, 0], axis=0), cache


def begin(num_images=2):
    """A prompt of BOS alone, with its mask."""
    return np.full((num_images, 1), BOS, "int32"), np.ones((num_images, 1), bool)
