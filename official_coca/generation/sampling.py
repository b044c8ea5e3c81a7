"""Decoding one token at a time: greedy, top-k and top-p, all on one loop.

B batch rows, P prompt positions, T = max_length positions, V vocabulary.
"""

import keras
from keras import ops

from official_coca.errors import InvalidInputError
from official_coca.generation.captioner_cache import bind_step, split_cache
from official_coca.generation.decoding_rules import NEGATIVE_INFINITY
from official_coca.generation.places import gather_places
from official_coca.generation.repetition import penalise_repetition, require_repetition_penalty
from official_coca.generation.sampler_options import (
    is_number,
    require_count,
    require_seed,
    require_temperature,
)
from official_coca.generation.top_tokens import top_tokens

# Top-p sorts the whole vocabulary only where this many tokens do not make up p.
_LIKELY_WIDTH = 128


class StatelessSeed(keras.random.SeedGenerator):
    """Hands a seed tensor to `keras.random`, so that a compiled loop needs no variable.

    Args:
        seed: scalar integer or integer tensor.
        step: scalar integer tensor; every step draws other numbers.
    """

    def __init__(self, seed, step):  # without super(): that would create the variable
        self._seed = ops.stack([ops.cast(seed, "uint32"), ops.cast(step, "uint32")])

    def next(self, ordered=True):
        return self._seed


class TokenSampler:
    """The decoding loop; a subclass says how the next token is chosen.

    Example:
        class SecondBest(TokenSampler):
            def select(self, logits, step_seed):
                return ops.top_k(logits, 2)[1][:, 1]
    """

    seed = None
    repetition_penalty = 1.0
    # Whether one sequence is written for each row, the same beside other rows: nothing is drawn.
    rows_are_independent = False

    @property
    def signature(self):
        """Hashable; samplers with equal signatures may share one compiled function."""
        return (type(self), self.repetition_penalty)

    def draw_seed(self):
        """The seed of one call: the sampler's own, or a fresh one from Keras' global generator.

        Draw it outside of a compiled function and pass it in as an argument.
        """
        return draw_fresh_seed() if self.seed is None else self.seed

    def select(self, logits, step_seed):
        """Chooses ids (B,) from logits (B, V); what may not be chosen is minus infinity."""
        raise NotImplementedError

    def select_under(self, rules, logits, step_seed):
        """`select` for a sampler whose choice depends on the `DecodingRules`."""
        return self.select(logits, step_seed)

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
        """Returns token ids (B, T) and the log-probability (B,) of what was chosen, or None."""
        token_ids, forced = rules.start(prompt_token_ids, prompt_mask)
        row_cache, shared = split_cache(cache)
        step = bind_step(decode_step, shared)

        def body(index, token_ids, row_cache, ended, *scores):
            logits, row_cache = step(token_ids[:, index], row_cache, index)
            given = forced[:, index + 1]
            ended = rules.ended_with_prompt(ended, token_ids[:, index], given)
            chosen = self._choose(logits, token_ids, index, rules, seed)
            writes = ops.logical_not(ops.logical_or(given, ended))
            if return_scores:
                scores = (scores[0] + ops.where(writes, log_probability(logits, chosen), 0.0),)
            following = ops.where(writes, chosen, rules.pad_token_id)
            following = ops.where(given, token_ids[:, index + 1], following)
            ended = ops.logical_or(ended, ops.logical_and(writes, rules.is_end(chosen)))
            token_ids = rules.write(token_ids, index + 1, following)
            return (index + 1, token_ids, row_cache, ended, *scores)

        def goes_on(index, token_ids, row_cache, ended, *scores):
            return ops.logical_and(index < rules.num_steps, ops.logical_not(ops.all(ended)))

        scores = (ops.zeros_like(token_ids[:, 0], dtype="float32"),) if return_scores else ()
        first = ops.convert_to_tensor(0, "int32")
        state = (first, token_ids, row_cache, ops.zeros_like(forced[:, 0]), *scores)
        _, token_ids, _, ended, *scores = ops.while_loop(goes_on, body, state)
        token_ids = rules.close(token_ids, forced, ended)
        return token_ids, scores[0] if return_scores else None

    def _choose(self, logits, token_ids, index, rules, seed):
        logits = penalise_repetition(logits, token_ids, index, self.repetition_penalty)
        logits = rules.allow(logits, index + 1)
        chosen = self.select_under(rules, logits, StatelessSeed(seed, index))
        return ops.cast(chosen, "int32")


class GreedySampler(TokenSampler):
    """The likeliest token, every time.

    Args:
        repetition_penalty: see `penalise_repetition`.
    """

    rows_are_independent = True

    def __init__(self, repetition_penalty=1.0):
        require_repetition_penalty(repetition_penalty)
        self.repetition_penalty = repetition_penalty

    def select(self, logits, step_seed):
        return top_tokens(logits, 1)[1][:, 0]


class TopKSampler(TokenSampler):
    """Draws among the k likeliest tokens (Fan et al. 2018, arXiv 1805.04833).

    Args:
        k: how many tokens stay.
        temperature: above 1 flattens the distribution, below 1 sharpens it.
        seed: integer, for the same draw at every call; None for a new one.
        repetition_penalty: see `penalise_repetition`.
    """

    def __init__(self, k=5, temperature=1.0, seed=None, repetition_penalty=1.0):
        require_count("k", k)
        require_temperature(temperature)
        require_seed(seed)
        require_repetition_penalty(repetition_penalty)
        self.k = k
        self.temperature = temperature
        self.seed = seed
        self.repetition_penalty = repetition_penalty

    @property
    def signature(self):
        return (*super().signature, self.k, self.temperature)

    def select(self, logits, step_seed):
        values, token_ids = top_tokens(logits, min(self.k, logits.shape[-1]))
        return _draw(values / self.temperature, token_ids, step_seed)


class TopPSampler(TokenSampler):
    """Draws from the smallest set of tokens with probability p (Holtzman et al. 2019).

    Args:
        p: probability of the set, in (0, 1].
        temperature: applied before the set is formed; under open_clip's rules after that.
        k: look at the k likeliest tokens only.
        seed: integer, for the same draw at every call; None for a new one.
        repetition_penalty: see `penalise_repetition`.
    """

    def __init__(self, p=0.9, temperature=1.0, k=None, seed=None, repetition_penalty=1.0):
        if not is_number(p) or not 0 < p <= 1:
            raise InvalidInputError(f"p={p!r} of top-p sampling is not in (0, 1]; try 0.9")
        require_temperature(temperature)
        if k is not None:
            require_count("k", k)
        require_seed(seed)
        require_repetition_penalty(repetition_penalty)
        self.p = p
        self.temperature = temperature
        self.k = k
        self.seed = seed
        self.repetition_penalty = repetition_penalty

    @property
    def signature(self):
        return (*super().signature, self.p, self.temperature, self.k)

    def select(self, logits, step_seed):
        return self._draw_from_set(logits / self.temperature, 1.0, step_seed)

    def select_under(self, rules, logits, step_seed):
        if rules.open_clip_rules:
            return self._draw_from_set(logits, self.temperature, step_seed)
        return self.select(logits, step_seed)

    def _draw_from_set(self, logits, temperature, step_seed):
        """Forms the set from `logits` (B, V) and draws from it at `temperature`."""
        log_normalizer = ops.logsumexp(logits, axis=-1, keepdims=True)
        width = logits.shape[-1] if self.k is None else min(self.k, logits.shape[-1])

        def draw(values, token_ids):
            probabilities = ops.exp(values - log_normalizer)
            # A token stays while the likelier ones do not reach p yet: the first always stays.
            likelier = ops.cumsum(probabilities, axis=-1) - probabilities
            values = ops.where(likelier < self.p, values, NEGATIVE_INFINITY)
            return _draw(values / temperature, token_ids, step_seed)

        if width <= _LIKELY_WIDTH:
            return draw(*top_tokens(logits, width))
        values, token_ids = top_tokens(logits, _LIKELY_WIDTH)
        reached = ops.sum(ops.exp(values - log_normalizer), axis=-1) >= self.p
        return ops.cond(
            ops.all(reached),
            lambda: draw(values, token_ids),
            lambda: draw(*top_tokens(logits, width)),
        )


def draw_fresh_seed():
    """A scalar integer tensor; `keras.utils.set_random_seed` makes the sequence of them fixed."""
    return keras.random.randint((), 0, 2**31 - 1, dtype="int32")


def log_probability(logits, token_ids):
    """The model's own log-probability (B,) of `token_ids` (B,) under `logits` (B, V)."""
    chosen = gather_places(logits, ops.expand_dims(token_ids, -1))
    return ops.squeeze(chosen, -1) - ops.logsumexp(logits, axis=-1)


def _draw(values, token_ids, step_seed):
    """One id (B,) from candidates (B, C) with unnormalised log-probabilities `values`."""
    place = keras.random.categorical(values, 1, dtype="int32", seed=step_seed)
    return ops.squeeze(gather_places(token_ids, place), -1)
