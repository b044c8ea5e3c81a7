"""The beam search of open_clip, token by token.

B images, K beams of a group, T = max_length positions, V vocabulary.
"""

from keras import ops

from official_coca.errors import InvalidInputError
from official_coca.generation.beam_candidates import best_continuations, separate_ends
from official_coca.generation.beam_search import require_beams
from official_coca.generation.captioner_cache import bind_step, repeat_rows, split_cache, take_rows
from official_coca.generation.common_prompt import feed_common_prompt
from official_coca.generation.decoding_rules import NEGATIVE_INFINITY
from official_coca.generation.places import flat_places, gather_places
from official_coca.generation.repetition import penalise_repetition, require_repetition_penalty
from official_coca.generation.top_tokens import top_tokens

_NEVER_YET = -1e9  # open_clip's score of a beam that there is not yet


class OpenClipBeamSearch:
    """What `CoCa.generate(generation_type="beam_search")` of open_clip 3.3.0 writes.

    For captions that must equal open_clip's; "beam" is the search for new work. This one adds up
    raw logits, not log-probabilities, so that a step where all logits are high counts for more
    than one where the model is sure. The sum is divided by the length, BOS and prompt included,
    and a row's search stops as soon as its best continuation does not beat the worst of K finished
    hypotheses at the present length (transformers' `BeamSearchScorer`, length penalty 1, no early
    stopping). Hence scores are not log-probabilities. BOS and PAD are words like any other where
    `DecodingRules.open_clip_rules` holds.

    open_clip's groups know nothing of one another: each runs the same search of
    `num_beams / num_beam_groups` beams and finds the same, so that one is run here.

    Args:
        num_beams: beams per image in all groups together, 2 or more.
        num_beam_groups: divides num_beams.
        repetition_penalty: see `penalise_repetition`.
    """

    def __init__(self, num_beams=6, num_beam_groups=3, repetition_penalty=1.0):
        require_beams(num_beams, num_beam_groups)
        if num_beams == 1:
            raise InvalidInputError(
                "num_beams=1 is no beam search in open_clip; use sampler='greedy' or 2 beams"
            )
        require_repetition_penalty(repetition_penalty)
        self.num_beams = num_beams
        self.num_beam_groups = num_beam_groups
        self.repetition_penalty = repetition_penalty
        self.group_size = num_beams // num_beam_groups

    @property
    def signature(self):
        """Hashable; samplers with equal signatures may share one compiled function."""
        return (type(self), self.group_size, self.repetition_penalty)

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
        """Returns token ids (B, T) and scores (B,)."""
        token_ids, forced = rules.start(prompt_token_ids, prompt_mask)
        row_cache, shared = split_cache(cache)
        step = bind_step(decode_step, shared)
        index = ops.convert_to_tensor(0, "int32")
        if prompt_token_ids.shape[1] > 1:
            prompt_lengths = ops.sum(ops.cast(forced, "int32"), axis=1)
            index, row_cache = feed_common_prompt(step, token_ids, prompt_lengths, row_cache)
        state = (index, *self._open(token_ids), repeat_rows(row_cache, self.group_size))

        def goes_on(index, alive_ids, alive_scores, kept_ids, kept_scores, done, row_cache):
            return ops.logical_and(index < rules.max_length - 1, ops.logical_not(ops.all(done)))

        def body(index, alive_ids, alive_scores, kept_ids, kept_scores, done, row_cache):
            logits, row_cache = step(ops.reshape(alive_ids[:, :, index], (-1,)), row_cache, index)
            given = forced[:, index + 1]
            continuations = self._continuations(logits, alive_ids, alive_scores, index, rules)
            length = ops.cast(index + 2, "float32")
            closed = ops.expand_dims(ops.logical_or(given, done), 1)
            ended, opened = separate_ends(continuations, self.group_size, rules.eos_token_id)
            parents, next_ids, scores = ended
            kept_ids, kept_scores = self._keep(
                (kept_ids, kept_scores),
                rules.write(gather_places(alive_ids, parents), index + 1, next_ids),
                ops.where(closed, NEGATIVE_INFINITY, scores / length),
            )
            enough = ops.min(kept_scores, axis=1) >= continuations[2][:, 0] / length
            done = ops.logical_or(done, ops.logical_and(enough, ops.logical_not(given)))
            parents, next_ids, scores = opened
            given = ops.expand_dims(given, 1)
            alive_scores = ops.where(given, alive_scores, scores)
            next_ids = ops.where(given, ops.expand_dims(token_ids[:, index + 1], 1), next_ids)
            alive_ids = rules.write(gather_places(alive_ids, parents), index + 1, next_ids)
            row_cache = take_rows(row_cache, flat_places(parents, self.group_size))
            return index + 1, alive_ids, alive_scores, kept_ids, kept_scores, done, row_cache

        index, alive_ids, alive_scores, kept_ids, kept_scores, done, _ = ops.while_loop(
            goes_on, body, state
        )
        length = ops.cast(index + 1, "float32")
        cut_scores = ops.where(
            ops.expand_dims(done, 1), NEGATIVE_INFINITY, alive_scores / length
        )
        return self._best(*self._keep((kept_ids, kept_scores), alive_ids, cut_scores))

    def _open(self, token_ids):
        """The state before the first step: one real beam per row, nothing finished."""
        column = ops.zeros_like(token_ids[:, :1], dtype="float32")  # (B, 1)
        alive_ids = ops.repeat(ops.expand_dims(token_ids, 1), self.group_size, axis=1)
        alive_scores = ops.where(ops.arange(self.group_size) == 0, column, _NEVER_YET)
        kept_scores = ops.repeat(column + NEGATIVE_INFINITY, self.group_size, axis=1)
        return alive_ids, alive_scores, alive_ids, kept_scores, ops.zeros_like(column[:, 0], "bool")

    def _continuations(self, logits, alive_ids, alive_scores, index, rules):
        """The 2K best continuations of a row by the sum of processed logits."""
        held = ops.reshape(alive_ids, (-1, rules.max_length))
        logits = penalise_repetition(logits, held, index, self.repetition_penalty)
        # At most one per beam is EOS and K others go on: K + 1 of a beam are enough.
        width = min(self.group_size + 1, logits.shape[-1])
        values, token_ids = top_tokens(rules.allow(logits, index + 1), width)
        candidates = (-1, self.group_size, width)
        scores = ops.reshape(values, candidates) + ops.expand_dims(alive_scores, -1)
        return best_continuations(
            scores, ops.reshape(token_ids, candidates), 2 * self.group_size
        )

    def _keep(self, kept, token_ids, scores):
        """Merges more hypotheses, (B, K, T) and (B, K), into the K best, in order of arrival.

        Of equal ones a kept one stays before a new one, and the younger of those kept.
        """
        count = self.group_size
        _, places = ops.top_k(
            ops.concatenate([ops.flip(kept[1], axis=1), scores], axis=1), count
        )
        places = ops.sort(ops.where(places < count, count - 1 - places, places), axis=-1)
        return (
            gather_places(ops.concatenate([kept[0], token_ids], axis=1), places),
            gather_places(ops.concatenate([kept[1], scores], axis=1), places),
        )

    def _best(self, kept_ids, kept_scores):
        """The best hypothesis of a row, of equal ones the one that came last."""
        place = self.group_size - 1 - ops.argmax(ops.flip(kept_scores, axis=1), axis=1)
        place = ops.expand_dims(ops.cast(place, "int32"), 1)
        return gather_places(kept_ids, place)[:, 0], gather_places(kept_scores, place)[:, 0]
