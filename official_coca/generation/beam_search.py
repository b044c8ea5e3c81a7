"""Beam search that shares the image between beams and lets finished captions keep their score.

B images, G groups, K beams of a group, S = B * G searches, R returned hypotheses,
T = max_length positions, V vocabulary, C candidates.
"""

from keras import ops

from official_coca.errors import InvalidInputError
from official_coca.generation.beam_candidates import (
    MOST_CANDIDATES,
    best_continuations,
    continue_groups,
    separate_ends,
)
from official_coca.generation.captioner_cache import bind_step, repeat_rows, split_cache, take_rows
from official_coca.generation.common_prompt import feed_common_prompt
from official_coca.generation.decoding_rules import NEGATIVE_INFINITY
from official_coca.generation.places import flat_places, gather_places
from official_coca.generation.repetition import penalise_repetition, require_repetition_penalty
from official_coca.generation.sampler_options import is_number, require_count
from official_coca.generation.top_tokens import top_tokens


class BeamSearch:
    """Keeps the `num_beams` best open hypotheses and, apart from them, the best finished ones.

    A hypothesis is finished when EOS is among its step's `num_beams` best continuations, or when
    it reaches the longest length. Its score is its log-probability divided by
    `((5 + length) / 6) ** length_penalty` (Wu et al. 2016, arXiv 1609.08144, eq. 14), where length
    counts the generated tokens and EOS. The search of a row stops when no open hypothesis can still
    beat the worst one kept. `num_beams=1` without a length penalty is greedy decoding.

    With groups this is diverse beam search (Vijayakumar et al. 2016, arXiv 1610.02424): each group
    of `num_beams / num_beam_groups` beams searches for itself, and of a token that beams of
    earlier groups took at this step it thinks `diversity_penalty` worse for each of them (their
    Hamming diversity). The penalty steers the choice only: scores are log-probabilities still.
    Every group contributes its own best to what is returned.

    Args:
        num_beams: open hypotheses per image, in all groups together.
        length_penalty: 0 compares log-probabilities, larger values favour longer captions.
        num_return_sequences: how many hypotheses are returned, best first.
        num_beam_groups: G, which divides num_beams.
        diversity_penalty: above 0; None gives 0.5 where there are groups (section 5 of the paper
            finds 0.2 to 0.8 to work well).
        repetition_penalty: see `penalise_repetition`; log-probabilities are those of the penalised
            logits then.
    """

    def __init__(
        self,
        num_beams=5,
        length_penalty=0.0,
        num_return_sequences=1,
        num_beam_groups=1,
        diversity_penalty=None,
        repetition_penalty=1.0,
    ):
        require_beams(num_beams, num_beam_groups)
        require_count("num_return_sequences", num_return_sequences)
        if num_return_sequences > num_beams:
            raise InvalidInputError(
                f"num_return_sequences={num_return_sequences} exceeds num_beams={num_beams}; "
                "raise num_beams"
            )
        if not is_number(length_penalty) or not 0 <= length_penalty < float("inf"):
            raise InvalidInputError(
                f"length_penalty={length_penalty!r} of beam search is not a number from 0 on; "
                "0 means none"
            )
        if diversity_penalty is not None:
            if not is_number(diversity_penalty) or not 0 < diversity_penalty < float("inf"):
                raise InvalidInputError(
                    f"diversity_penalty={diversity_penalty!r} of beam search is not a number "
                    "above 0; try 0.5"
                )
            if num_beam_groups == 1:
                raise InvalidInputError(
                    f"diversity_penalty={diversity_penalty} compares groups of beams and there is "
                    "one; set num_beam_groups to 2 or more, or leave diversity_penalty out"
                )
        require_repetition_penalty(repetition_penalty)
        self.num_beams = num_beams
        self.length_penalty = length_penalty
        self.num_return_sequences = num_return_sequences
        self.num_beam_groups = num_beam_groups
        self.diversity_penalty = 0.5 if diversity_penalty is None else diversity_penalty
        self.repetition_penalty = repetition_penalty
        self.group_size = num_beams // num_beam_groups
        self._num_kept = -(-num_return_sequences // num_beam_groups)  # of each group

    @property
    def signature(self):
        """Hashable; samplers with equal signatures may share one compiled function."""
        return (
            type(self),
            self.num_beams,
            self.length_penalty,
            self.num_return_sequences,
            self.num_beam_groups,
            self.diversity_penalty,
            self.repetition_penalty,
        )

    def draw_seed(self):
        """Beam search draws nothing."""
        return 0

    def decode(
        self,
        decode_step,
        cache,
        prompt_token_ids,
        prompt_mask,
        *,
        rules,
        seed=0,
        return_scores=True,
    ):
        """Returns token ids (B, R, T) and scores (B, R), best first; (B, T), (B,) for R = 1.

        Where there are fewer than R possible hypotheses the rest is PAD with score -inf.
        """
        token_ids, forced = rules.start(prompt_token_ids, prompt_mask)
        prompt_lengths = ops.sum(ops.cast(forced, "int32"), axis=1)
        row_cache, shared = split_cache(cache)
        step = bind_step(decode_step, shared)
        index = ops.convert_to_tensor(0, "int32")
        if prompt_token_ids.shape[1] > 1:
            index, row_cache = feed_common_prompt(step, token_ids, prompt_lengths, row_cache)
        token_ids, forced, prompt_lengths = repeat_rows(
            (token_ids, forced, prompt_lengths), self.num_beam_groups
        )  # from here on a group is a row of its own
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
            logits = penalise_repetition(
                logits,
                ops.reshape(alive_ids, (-1, rules.max_length)),
                index,
                self.repetition_penalty,
            )
            ended, opened = self._continue(
                logits, rules.allow(logits, index + 1), alive_scores, rules.eos_token_id
            )
            parents, next_ids, scores = ended
            kept_ids, kept_scores = self._keep(
                (kept_ids, kept_scores),
                rules.write(gather_places(alive_ids, parents), index + 1, next_ids),
                ops.where(
                    given,
                    NEGATIVE_INFINITY,
                    scores / ops.expand_dims(self._penalty(index + 2 - prompt_lengths), 1),
                ),
            )
            parents, next_ids, open_scores = opened  # any will do within a prompt: beams are alike
            alive_scores = ops.where(given, alive_scores, open_scores)
            next_ids = ops.where(given, ops.expand_dims(token_ids[:, index + 1], 1), next_ids)
            alive_ids = rules.write(gather_places(alive_ids, parents), index + 1, next_ids)
            row_cache = take_rows(row_cache, flat_places(parents, self.group_size))
            return index + 1, alive_ids, alive_scores, kept_ids, kept_scores, row_cache

        index, alive_ids, alive_scores, kept_ids, kept_scores, _ = ops.while_loop(
            goes_on, body, state
        )
        # Cut at the longest length; where the search stopped early these cannot be the better ones.
        lengths = ops.expand_dims(self._penalty(index + 1 - prompt_lengths), 1)
        kept = self._keep((kept_ids, kept_scores), alive_ids, alive_scores / lengths)
        return self._best_of_groups(*kept, rules)

    def _open(self, token_ids):
        """The state before the first step: one real beam per row, nothing finished."""
        column = ops.zeros_like(token_ids[:, :1], dtype="float32")  # (S, 1)
        alive_ids = ops.repeat(ops.expand_dims(token_ids, 1), self.group_size, axis=1)
        alive_scores = ops.where(ops.arange(self.group_size) == 0, column, NEGATIVE_INFINITY)
        kept_ids = alive_ids[:, : self._num_kept]
        kept_scores = ops.repeat(column + NEGATIVE_INFINITY, self._num_kept, axis=1)
        return alive_ids, alive_scores, kept_ids, kept_scores

    def _continue(self, logits, allowed_logits, alive_scores, eos_token_id):
        """The hypotheses that end and those that go on: parents, ids and scores, (S, K) each."""
        # The log-softmax is needed only where a continuation has a chance. A group takes one of
        # the K + 1 best of a beam, EOS or K others, once those that earlier groups took are last.
        width = min(self.num_beams + 1, logits.shape[-1])
        values, token_ids = top_tokens(allowed_logits, width)  # (S * K, width)
        values -= ops.logsumexp(logits, axis=-1, keepdims=True)
        candidates = (-1, self.group_size, width)
        scores = ops.reshape(values, candidates) + ops.expand_dims(alive_scores, -1)
        token_ids = ops.reshape(token_ids, candidates)
        if self.num_beam_groups > 1:
            return continue_groups(
                scores, token_ids, self.num_beam_groups, self.diversity_penalty, eos_token_id
            )
        continuations = best_continuations(scores, token_ids, 2 * self.group_size)
        return separate_ends(continuations, self.group_size, eos_token_id)

    def _keep(self, kept, token_ids, scores):
        """Merges more hypotheses, (S, C, T) and (S, C), into the best finished ones of a row."""
        token_ids = ops.concatenate([kept[0], token_ids], axis=1)
        scores = ops.concatenate([kept[1], scores], axis=1)
        scores, places = ops.top_k(scores, self._num_kept)
        return gather_places(token_ids, places), scores

    def _best_of_groups(self, kept_ids, kept_scores, rules):
        """The R best (B, R, T) and (B, R) of what the groups kept; R = 1 has no axis."""
        candidates = self.num_beam_groups * self._num_kept
        kept_ids = ops.reshape(kept_ids, (-1, candidates, rules.max_length))
        kept_scores, places = ops.top_k(
            ops.reshape(kept_scores, (-1, candidates)), self.num_return_sequences
        )
        possible = ops.expand_dims(kept_scores > NEGATIVE_INFINITY, -1)
        kept_ids = ops.where(possible, gather_places(kept_ids, places), rules.pad_token_id)
        if self.num_return_sequences == 1:
            return kept_ids[:, 0], kept_scores[:, 0]
        return kept_ids, kept_scores

    def _penalty(self, length):
        return ((5.0 + ops.cast(length, "float32")) / 6.0) ** self.length_penalty


def require_beams(num_beams, num_beam_groups):
    """Raises `InvalidInputError` unless the beams can be counted and dealt out to the groups."""
    require_count("num_beams", num_beams)
    require_count("num_beam_groups", num_beam_groups)
    if num_beams > MOST_CANDIDATES:
        raise InvalidInputError(f"num_beams={num_beams} is above {MOST_CANDIDATES}; lower it")
    if num_beams % num_beam_groups:
        raise InvalidInputError(
            f"num_beams={num_beams} cannot be dealt out to num_beam_groups={num_beam_groups} "
            "groups of one size; make it a multiple"
        )
