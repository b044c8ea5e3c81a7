"""How the sources are mixed: which source each place of each batch is taken from.

B places of a batch, S sources.
"""

import numpy as np
import tensorflow as tf

from official_coca.errors import InvalidInputError

MODES = ("fixed_shares", "sample")


def batch_counts(shares, batch_size):
    """Divides a batch among sources by the largest-remainder rule.

    Args:
        shares: S positive numbers, fractions or weights.
        batch_size: B.

    Returns:
        List of S integers that sum to B.
    """
    quotas = np.asarray(shares, np.float64) / np.sum(shares) * batch_size
    counts = np.floor(quotas + 1e-9).astype(int)
    remainders = quotas - counts
    for index in np.argsort(-remainders, kind="stable")[: batch_size - counts.sum()]:
        counts[index] += 1
    return counts.tolist()


class Mixture:
    """A fixed share of each batch per source, or sampling by share.

    With fixed shares the sources are spread evenly over the batch, so that every replica's part of
    it has about the same mixture.

    Args:
        sources: sequence of S `Source`.
        batch_size: B.
        mode: `"fixed_shares"` or `"sample"`.
        seed: integer, read by `"sample"`.
    """

    def __init__(self, sources, batch_size, mode="fixed_shares", seed=0):
        if mode not in MODES:
            raise InvalidInputError(f"the mixture mode {mode!r} is unknown; use one of {MODES}")
        self.batch_size = batch_size
        self.mode = mode
        self.shares = [source.share for source in sources]
        self.counts = batch_counts(self.shares, batch_size)
        self._seed = np.random.SeedSequence([seed, len(sources)]).generate_state(1)[0].astype(int)
        if mode == "fixed_shares":
            for source, count in zip(sources, self.counts):
                if count == 0:
                    raise InvalidInputError(
                        f"source {source.name!r} with share {source.share} gets no place in a "
                        f"batch of {batch_size}; raise one of them, or mix by mode 'sample'"
                    )

    def choices(self, start_batch):
        """Returns the endless dataset of source indices, int64 scalars, from a batch on."""
        if self.mode == "fixed_shares":
            return tf.data.Dataset.from_tensor_slices(self._spread()).repeat()
        return self._sampled(start_batch).unbatch()

    def positions(self, start_batch):
        """Returns how many examples of each source the batches before `start_batch` took."""
        if self.mode == "fixed_shares":
            return [count * start_batch for count in self.counts]
        taken = (
            self._sampled(0)
            .take(start_batch)
            .reduce(
                np.zeros(len(self.shares), np.int64),
                lambda totals, batch: totals
                + tf.math.bincount(batch, minlength=len(self.shares), dtype=tf.int64),
            )
        )
        return taken.numpy().tolist()

    def _sampled(self, start_batch):
        logits = np.log(np.asarray(self.shares, np.float64) / np.sum(self.shares))[np.newaxis]

        def draw(batch):
            seed = tf.stack([self._seed, batch])
            return tf.random.stateless_categorical(logits, self.batch_size, seed)[0]

        return tf.data.Dataset.counter(np.int64(start_batch)).map(draw)

    def _spread(self):
        """Returns (B,) int64, each source at even distances."""
        places = [
            ((index + 0.5) / count, source)
            for source, count in enumerate(self.counts)
            for index in range(count)
        ]
        return np.array([source for _, source in sorted(places)], np.int64)
