"""Beam search that shares the image between beams and lets finished captions keep their score.

B images, K beams, R returned hypotheses, P prompt positions, T = max_length positions,
V vocabulary, C candidates.
"""

from keras import ops

from official_coca.errors import InvalidInputError
from official_coca.generation.captioner_cache import bind_step, repeat_rows, split_cache, take_rows
from official_coca.generation.decoding_rules import NEGATIVE_INFINITY


class BeamSearch:
    """Keeps the `num_beams` best open hypotheses and, apart from them, the best finished ones.

    A hypothesis is finished when EOS is among its step's `num_beams` best continuations, or when
    it reaches the longest length. Its score is its log-probability divided by
    `((5 + length) / 6) ** length_penalty` (Wu et al. 2016, arXiv 1609.08144, eq. 14), where length
    counts the generated tokens and EOS. The search of a row stops when no open hypothesis can still
    beat the worst one kept. `num_beams=1` without a length penalty is greedy decoding.

    Args:
        num_beams: open hypotheses per image.
        length_penalty: 0 compares log-probabilities, larger values favour longer captions.
        num_return_sequences: how many hypotheses are returned, best first.
    """

    def __init__(self, num_beams=5, length_penalty=0.0, num_return_sequences=1):
        for name, value in (
            ("num_beams", num_beams),
            ("num_return_sequences", num_return_sequences),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidInputError(
                    f"{name}={value!r} of beam search is not a whole number above 0"
                )
        if num_return_sequences > num_beams:
            raise InvalidInputError(
                f"num_return_sequences={num_return_sequences} exceeds num_beams={num_beams}; "
                "raise num_beams"
            )
        is_number = isinstance(length_penalty, (int, float))
        if not is_number or not 0 <= length_penalty < float("inf"):
            raise InvalidInputError(
                f"length_penalty={length_penalty!r} of beam search is not a number from 0 on; "
                "0 means none"
            )
        self.num_beams = num_beams
        self.length_penalty = length_penalty
        self.num_return_sequences = num_return_sequences

    @property
    def signature(self):
        """Hashable; samplers with equal signatures may share one compiled function."""
        return (type(self), self.num_beams, self.length_penalty, self.num_return_sequences)

    def draw_seed(self):
        """Beam search draws nothing."""
        return 0

    def decode(self, decode_step, cache, prompt_token_ids, prompt_mask, *, rules, seed=0):
        """Returns token ids (B, R, T) and scores (B, R), best first; (B, T), (B,) for R = 1.

        Where there are fewer than R possible hypotheses the rest is PAD with score -inf.
        """
        token_ids, forced = rules.start(prompt_token_ids, prompt_mask)
        prompt_lengths = ops.sum(ops.cast(forced, "int32"), axis=1)
        row_cache, shared = split_cache(cache)
        step = bind_step(decode_step, shared)
        index = ops.convert_to_tensor(0, "int32")
        if prompt_token_ids.shape[1] > 1:
            index, row_cache = _feed_common_prompt(step, token_ids, prompt_lengths, row_cache)
        state = (index, *self._open(token_ids), repeat_rows(row_cache, self.num_beams))
        longest = self._penalty(rules.max_length - prompt_lengths)

        def goes_on(index, alive_ids, alive_scores, kept_ids, kept_scores, row_cache):
            # Log-probabilities only fall, so the longest length bounds what an open beam can reach.
            reachable = ops.max(alive_scores, axis=1) / longest
            undecided = kept_scores[:, -1] < reachable
            return ops.logical_and(index < rules.max_length - 1, ops.any(undecided))

        def body(index, alive_ids, alive_scores, kept_ids, kept_scores, row_cache):
            logits, row_cache = step(ops.reshape(alive_ids[:, :, index], (-1,)), row_cache, index)
            given = ops.expand_dims(forced[:, index + 1], 1)
            parents, next_ids, scores = self._candidates(
                logits, rules.allow(logits, index + 1), alive_scores
            )
            ends = next_ids == rules.eos_token_id
            kept_ids, kept_scores = self._keep(
                (kept_ids, kept_scores),
                rules.write(
                    _gather(alive_ids, parents[:, : self.num_beams]),
                    index + 1,
                    next_ids[:, : self.num_beams],
                ),
                ops.where(
                    ops.logical_and(ends, ops.logical_not(given))[:, : self.num_beams],
                    scores[:, : self.num_beams]
                    / ops.expand_dims(self._penalty(index + 2 - prompt_lengths), 1),
                    NEGATIVE_INFINITY,
                ),
            )
            open_scores, places = ops.top_k(
                ops.where(ends, NEGATIVE_INFINITY, scores), self.num_beams
            )
            alive_scores = ops.where(given, alive_scores, open_scores)
            parents = _gather(parents, places)  # any will do within a prompt: its beams are alike
            next_ids = ops.where(
                given, ops.expand_dims(token_ids[:, index + 1], 1), _gather(next_ids, places)
            )
            alive_ids = rules.write(_gather(alive_ids, parents), index + 1, next_ids)
            row_cache = take_rows(row_cache, _flat_places(parents, self.num_beams))
            return index + 1, alive_ids, alive_scores, kept_ids, kept_scores, row_cache

        index, alive_ids, alive_scores, kept_ids, kept_scores, _ = ops.while_loop(
            goes_on, body, state
        )
        # Cut at the longest length; where the search stopped early these cannot be the better ones.
        lengths = ops.expand_dims(self._penalty(index + 1 - prompt_lengths), 1)
        kept_ids, kept_scores = self._keep(
            (kept_ids, kept_scores), alive_ids, alive_scores / lengths
        )
        possible = ops.expand_dims(kept_scores > NEGATIVE_INFINITY, -1)
        kept_ids = ops.where(possible, kept_ids, rules.pad_token_id)
        if self.num_return_sequences == 1:
            return kept_ids[:, 0], kept_scores[:, 0]
        return kept_ids, kept_scores

    def _open(self, token_ids):
        """The state before the first step: one real beam per row, nothing finished."""
        column = ops.zeros_like(token_ids[:, :1], dtype="float32")  # (B, 1)
        alive_ids = ops.repeat(ops.expand_dims(token_ids, 1), self.num_beams, axis=1)
        alive_scores = ops.where(ops.arange(self.num_beams) == 0, column, NEGATIVE_INFINITY)
        kept_ids = alive_ids[:, : self.num_return_sequences]
        kept_scores = ops.repeat(column + NEGATIVE_INFINITY, self.num_return_sequences, axis=1)
        return alive_ids, alive_scores, kept_ids, kept_scores

    def _candidates(self, logits, allowed_logits, alive_scores):
        """The 2K best continuations of a row: parents, token ids and scores, (B, 2K) each.

        At most one per beam is EOS, so K of them go on. The log-softmax is needed only where a
        continuation has a chance, one of the K + 1 best of its beam.
        """
        width = min(self.num_beams + 1, logits.shape[-1])
        values, token_ids = ops.top_k(allowed_logits, width)  # (B * K, width)
        scores = values - ops.logsumexp(logits, axis=-1, keepdims=True)
        scores += ops.reshape(alive_scores, (-1, 1))
        scores = ops.reshape(scores, (-1, self.num_beams * width))
        token_ids = ops.reshape(token_ids, (-1, self.num_beams * width))
        scores, places = ops.top_k(scores, 2 * self.num_beams)
        return places // width, _gather(token_ids, places), scores

    def _keep(self, kept, token_ids, scores):
        """Merges more hypotheses, (B, C, T) and (B, C), into the R best finished ones."""
        token_ids = ops.concatenate([kept[0], token_ids], axis=1)
        scores = ops.concatenate([kept[1], scores], axis=1)
        scores, places = ops.top_k(scores, self.num_return_sequences)
        return _gather(token_ids, places), scores

    def _penalty(self, length):
        return ((5.0 + ops.cast(length, "float32")) / 6.0) ** self.length_penalty


def _feed_common_prompt(step, token_ids, prompt_lengths, row_cache):
    """Feeds what every row is given, once per image, before the rows are split into beams."""
    last_common = ops.min(prompt_lengths) - 1
    return ops.while_loop(
        lambda index, row_cache: index < last_common,
        lambda index, row_cache: (index + 1, step(token_ids[:, index], row_cache, index)[1]),
        (ops.convert_to_tensor(0, "int32"), row_cache),
    )


def _flat_places(places, width):
    """Places (B, M) within rows of `width` entries -> places (B * M,) in the flattened rows."""
    rows = ops.expand_dims(ops.arange(ops.shape(places)[0], dtype="int32"), 1)
    return ops.reshape(rows * width + places, (-1,))


def _gather(values, places):
    """Picks places (B, M) along axis 1 of values (B, N, ...)."""
    rest = tuple(values.shape[2:])
    flat = ops.reshape(values, (-1, *rest))
    picked = ops.take(flat, _flat_places(places, values.shape[1]), axis=0)
    return ops.reshape(picked, (-1, places.shape[1], *rest))
