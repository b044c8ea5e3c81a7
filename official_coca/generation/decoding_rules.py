"""Which tokens may stand where in a generated sequence.

B batch rows, P prompt positions, T = max_length positions, V vocabulary.
"""

import dataclasses

import numpy as np
from keras import ops

NEGATIVE_INFINITY = float("-inf")


@dataclasses.dataclass(frozen=True)
class DecodingRules:
    """The lengths and special tokens that every sampler obeys.

    Args:
        max_length: most tokens of a sequence, BOS and prompt included.
        min_length: EOS is not produced before this many tokens (BOS and prompt included) stand.
        eos_token_id: ends a row.
        pad_token_id: fills a row after EOS; never produced.
        bos_token_id: opens every row; never produced.
        vocabulary_size: ids from here on are never produced (a model's vocabulary may be padded
            beyond the tokenizer's). None allows the whole width of the logits.
        open_clip_rules: decode as open_clip does: PAD and BOS are ids like any other and may be
            produced. A sampler that writes token by token ends a row at PAD as at EOS, also where
            that is the last token of its prompt, and closes a row that is still open with EOS at
            the last position.
    """

    max_length: int
    min_length: int
    eos_token_id: int
    pad_token_id: int
    bos_token_id: int
    vocabulary_size: int | None = None
    open_clip_rules: bool = False

    def start(self, prompt_token_ids, prompt_mask):
        """Widens a right-padded prompt to the full length.

        Returns: token ids (B, T) int32, PAD where nothing is given, and the mask (B, T) of forced
        positions. Position 0 is always forced; it is BOS where a row gives nothing.
        """
        token_ids = ops.cast(prompt_token_ids, "int32")
        mask = ops.cast(prompt_mask, "bool")
        token_ids = ops.where(mask, token_ids, self.pad_token_id)
        free = self.max_length - token_ids.shape[1]
        token_ids = ops.pad(token_ids, ((0, 0), (0, free)), constant_values=self.pad_token_id)
        forced = ops.cast(ops.pad(ops.cast(mask, "int32"), ((0, 0), (0, free))), "bool")
        opens = ops.arange(self.max_length) == 0
        token_ids = ops.where(
            ops.logical_and(opens, ops.logical_not(forced)), self.bos_token_id, token_ids
        )
        return ops.cast(token_ids, "int32"), ops.logical_or(forced, opens)

    def allow(self, logits, position):
        """Sets the logits (rows, V) of what may not stand at `position` to minus infinity."""
        vocabulary = np.arange(logits.shape[-1])
        banned = np.zeros_like(vocabulary, dtype=bool)
        if not self.open_clip_rules:
            banned |= (vocabulary == self.pad_token_id) | (vocabulary == self.bos_token_id)
        if self.vocabulary_size is not None:
            banned |= vocabulary >= self.vocabulary_size
        waits = self.min_length > 1  # position 0 is always forced
        if not waits and not banned.any():
            return logits
        banned = ops.convert_to_tensor(banned)
        if waits:
            too_early = ops.logical_and(vocabulary == self.eos_token_id, position < self.min_length)
            banned = ops.logical_or(banned, too_early)
        # A sum with a row takes TensorFlow a fraction of the time that `where` with a row takes.
        return logits + ops.cast(ops.where(banned, NEGATIVE_INFINITY, 0.0), logits.dtype)

    @property
    def num_steps(self):
        """Most tokens that the model is asked for, after BOS, by a sampler of single tokens.

        Under open_clip's rules the last one is EOS whatever the model says: see `close`.
        """
        return self.max_length - (2 if self.open_clip_rules else 1)

    def ended_with_prompt(self, ended, last_token_ids, given):
        """Adds rows whose prompt was closed by its last token, which open_clip takes for an end.

        Args:
            ended: (B,) boolean, rows that have ended.
            last_token_ids: (B,), what stands before the next position.
            given: (B,) boolean, whether the prompt has a token for the next position.
        """
        if not self.open_clip_rules:
            return ended
        closed = ops.logical_and(self.is_end(last_token_ids), ops.logical_not(given))
        return ops.logical_or(ended, closed)

    def close(self, token_ids, forced, ended):
        """Under open_clip's rules, the last position (B, T) of rows that have not ended is EOS."""
        if not self.open_clip_rules or self.max_length < 2:
            return token_ids
        given = forced[:, -1]
        ended = self.ended_with_prompt(ended, token_ids[:, -2], given)
        is_open = ops.logical_not(ops.logical_or(given, ended))
        last = ops.where(is_open, self.eos_token_id, token_ids[:, -1])
        return self.write(token_ids, self.max_length - 1, last)

    def is_end(self, token_ids):
        """Whether each of `token_ids` ends the row it was produced in."""
        ends = token_ids == self.eos_token_id
        if self.open_clip_rules:
            ends = ops.logical_or(ends, token_ids == self.pad_token_id)
        return ends

    def write(self, token_ids, position, next_token_ids):
        """Puts `next_token_ids` (...) at `position` of `token_ids` (..., T)."""
        # `where` over the few positions: `slice_update` costs an XLA compilation per batch size.
        here = ops.arange(self.max_length) == position
        return ops.where(here, ops.expand_dims(next_token_ids, -1), token_ids)

    def trim(self, token_ids, forced):
        """Pads everything after the first end that was generated, `(rows, T)` both."""
        ends = ops.cast(self._generated_ends(token_ids, forced), "int32")
        ends_before = ops.cumsum(ends, axis=-1) - ends
        return ops.where(ends_before > 0, self.pad_token_id, token_ids)

    def ended(self, token_ids, forced, position):
        """Whether the row's end was generated before `position`: (rows,) bool."""
        before = ops.arange(self.max_length) < position
        ends = ops.logical_and(self._generated_ends(token_ids, forced), before)
        return ops.any(ends, axis=-1)

    def _generated_ends(self, token_ids, forced):
        return ops.logical_and(self.is_end(token_ids), ops.logical_not(forced))
