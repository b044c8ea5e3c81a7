"""Counts examples that could not be used, shows the counts, and stops a run that has too many."""

import keras
import numpy as np
import tensorflow as tf

from official_coca.errors import InvalidInputError


class BadExampleCounter:
    """Counts, for each source, images seen, undecodable images and examples without text.

    The input pipeline counts while it runs, which is a little ahead of training. Make the counter
    outside `strategy.scope()`, since an input pipeline cannot use a distributed variable.

    Args:
        source_names: names of the sources in the order of their ids.

    Attributes:
        seen: `tf.Variable` (S,) int64 for S sources, images that were to be decoded.
        undecodable: likewise, those of them that could not be.
        empty: likewise, examples dropped for want of text.
    """

    def __init__(self, source_names):
        if tf.distribute.has_strategy():
            raise RuntimeError("make the BadExampleCounter outside strategy.scope()")
        self.source_names = tuple(source_names)
        with tf.device("CPU:0"):
            self.seen, self.undecodable, self.empty = (
                tf.Variable(np.zeros(len(self.source_names), np.int64), trainable=False)
                for _ in range(3)
            )

    def add_images(self, source_ids, undecodable):
        """Counts a batch of images.

        Args:
            source_ids: (B,) int32.
            undecodable: (B,) bool.
        """
        self.seen.assign_add(self._per_source(source_ids))
        self.undecodable.assign_add(self._per_source(tf.boolean_mask(source_ids, undecodable)))

    def add_empty(self, source_id, count):
        """Counts examples of one source that were dropped for want of text."""
        self.empty.assign_add(
            tf.one_hot(source_id, len(self.source_names), dtype=tf.int64) * count
        )

    def counts(self):
        """Returns `{source name: {"seen": int, "undecodable": int, "empty": int}}`."""
        columns = {
            "seen": self.seen.numpy(),
            "undecodable": self.undecodable.numpy(),
            "empty": self.empty.numpy(),
        }
        return {
            name: {key: int(values[index]) for key, values in columns.items()}
            for index, name in enumerate(self.source_names)
        }

    def summary(self):
        """Returns one line that a person reads, or "" when every example was good."""
        parts = []
        for name, counts in self.counts().items():
            if counts["undecodable"] or counts["empty"]:
                parts.append(
                    f"{name}: {counts['undecodable']:,} of {counts['seen']:,} images undecodable, "
                    f"{counts['empty']:,} examples without text"
                )
        return "skipped: " + "; ".join(parts) if parts else ""

    def check(self, maximum_bad_share=0.05, minimum_seen=100):
        """Raises `InvalidInputError` when too many images of a source cannot be decoded."""
        seen, undecodable = self.seen.numpy(), self.undecodable.numpy()
        for name, total, bad in zip(self.source_names, seen, undecodable):
            if total >= minimum_seen and bad > maximum_bad_share * total:
                raise InvalidInputError(
                    f"source {name!r}: {bad:,} of {total:,} images cannot be decoded, more than "
                    f"the maximum_bad_share of {maximum_bad_share:.0%}; make its shards anew with "
                    "data/make_shards.py --drop_bad, or raise the maximum"
                )

    def _per_source(self, source_ids):
        return tf.math.bincount(
            source_ids,
            minlength=len(self.source_names),
            maxlength=len(self.source_names),
            dtype=tf.int64,
        )


class BadExampleMonitor(keras.callbacks.Callback):
    """Shows a `BadExampleCounter` and stops training when too much of a source is bad.

    The number of undecodable images is in the logs of each epoch as `undecodable_images`; a line
    with the counts is printed at the end of an epoch in which they grew.

    Args:
        bad_examples: `BadExampleCounter` that was given to `training_dataset`.
        maximum_bad_share: share of a source's images that may be undecodable.
        minimum_seen: images of a source to see before judging it.
    """

    def __init__(self, bad_examples, maximum_bad_share=0.05, minimum_seen=100):
        super().__init__()
        self.bad_examples = bad_examples
        self.maximum_bad_share = maximum_bad_share
        self.minimum_seen = minimum_seen
        self._shown = ""

    def on_train_batch_end(self, batch, logs=None):
        self.bad_examples.check(self.maximum_bad_share, self.minimum_seen)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["undecodable_images"] = int(self.bad_examples.undecodable.numpy().sum())
        summary = self.bad_examples.summary()
        if summary != self._shown:
            print(f"\n{summary}", flush=True)
            self._shown = summary
