"""Byte-pair merges of many words at once, inside the TensorFlow graph.

All words lie behind one another in one row of T tokens, so that a long word costs the others
nothing. A merge never reaches over the end of a word: no pair begins with a token that ends one.

Shapes: T tokens of all words together, which become fewer; M merges.
"""

import numpy as np
import tensorflow as tf

from official_coca.preprocessing.constant_table import constant

_NO_MERGE = 2**30
# A word of more tokens is also merged in several places at once.
_LONG_WORD = 64


class BytePairMerger:
    """Applies merges in order of their rank, each from left to right, until none is left.

    A merge may only use tokens that earlier merges made; then the pairs that a merge brings forth
    have a higher rank than its own, and all places where a pair of the lowest rank of its word
    occurs can be merged at once. The same holds where a pair has the lowest rank of all within
    `longest_token - 1` pairs on either side: to reach it, a merge of lower rank that began further
    off would have to make a longer token than there is.

    Args:
        pairs: (M, 2) integers, the tokens that merge 0, 1, ... joins.
        first_merged_id: merge r makes the token `first_merged_id + r`.
        longest_token: bytes of the longest token.
    """

    def __init__(self, pairs, first_merged_id, longest_token):
        self._base = first_merged_id + len(pairs)
        keys = pairs[:, 0] * self._base + pairs[:, 1]
        order = np.argsort(keys)
        self._keys = constant(keys[order])
        self._ranks = constant(order.astype(np.int32))
        self._first_merged_id = first_merged_id
        self._radius = longest_token - 1

    def __call__(self, token_ids, words):
        """Returns the merged tokens and the words they are of, each (T',) int32.

        Args:
            token_ids: (T,) int32.
            words: (T,) int32, the number of the word of each token, in rising order.
        """
        counts = tf.math.bincount(words)
        has_long_word = tf.reduce_any(counts > _LONG_WORD)

        def merge_once(token_ids, words, _):
            rank = self._pair_ranks(token_ids)
            limit = tf.gather(tf.math.segment_min(rank, words), words)
            limit = tf.cond(
                has_long_word, lambda: tf.maximum(limit, self._lowest_nearby(rank)), lambda: limit
            )
            merges = _without_overlaps(rank, rank <= limit)
            merged = tf.where(merges, self._first_merged_id + rank, token_ids)
            kept = ~tf.concat([[False], merges[:-1]], axis=0)
            merged, words = tf.boolean_mask(merged, kept), tf.boolean_mask(words, kept)
            return merged, words, tf.reduce_any(merges)

        token_ids, words, _ = tf.while_loop(
            lambda token_ids, words, merged: merged,
            merge_once,
            [token_ids, words, tf.size(token_ids) > 0],
            shape_invariants=[tf.TensorShape([None]), tf.TensorShape([None]), tf.TensorShape([])],
        )
        return token_ids, words

    def _pair_ranks(self, token_ids):
        """Returns (T,) int32: the rank of each token with its right neighbour."""
        pairs = tf.cast(token_ids[:-1], tf.int64) * self._base + tf.cast(token_ids[1:], tf.int64)
        index = tf.minimum(tf.searchsorted(self._keys, pairs), tf.size(self._keys) - 1)
        found = tf.gather(self._keys, index) == pairs
        rank = tf.where(found, tf.gather(self._ranks, index), _NO_MERGE)
        return tf.concat([rank, [_NO_MERGE]], axis=0)

    def _lowest_nearby(self, rank):
        """Returns (T,) int32: the lowest rank within at least the radius on either side."""
        reached = 0
        while reached < self._radius:
            step = 2 * reached + 1
            padded = tf.pad(rank, [[step, step]], constant_values=_NO_MERGE)
            rank = tf.minimum(rank, tf.minimum(padded[: -2 * step], padded[2 * step :]))
            reached += step
        return rank


def _without_overlaps(rank, is_lowest):
    """Returns (T,) bool: where to merge, which is every other pair of a run such as "aaaa".

    A run is merged only when all of it may be, as each of its merges depends on the one before.
    """
    positions = tf.range(tf.size(rank))
    starts = tf.concat([[True], rank[1:] != rank[:-1]], axis=0)
    runs = tf.cumsum(tf.cast(starts, tf.int32)) - 1
    begin = tf.gather(tf.boolean_mask(positions, starts), runs)
    allowed = is_lowest & (rank < _NO_MERGE)
    whole = tf.gather(tf.math.segment_min(tf.cast(allowed, tf.int32), runs), runs) > 0
    return whole & ((positions - begin) % 2 == 0)
