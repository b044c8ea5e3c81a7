"""Lets any keras_hub sampler decode any captioner.

B images, K beams of the sampler, P prompt positions, T = max_length positions, V vocabulary.
"""

import contextlib
import inspect
import math

import keras
from keras import ops, tree

from official_coca.errors import InvalidInputError
from official_coca.generation.captioner_cache import repeat_rows, split_cache
from official_coca.generation.decoding_rules import NEGATIVE_INFINITY
from official_coca.generation.sampling import draw_fresh_seed
from official_coca.generation.sequence_scores import score_sequences

# Names that our own samplers do not take. "speculative" is absent: it needs a draft model.
KERAS_HUB_NAMES = {"contrastive": "ContrastiveSampler", "random": "RandomSampler"}


class KerasHubSampler:
    """Calls `sampler(next, prompt, cache, index, mask, stop_token_ids, hidden_states)`.

    A keras_hub sampler tiles and gathers the whole cache, the cross-attention part included, so
    its beam search is much slower than `BeamSearch`. Two of its habits are corrected inside of
    `next`: a row that has ended gets PAD with probability 1 (otherwise finished beams go on paying
    for tokens after EOS), and so does a forced token (otherwise beams fork within the prompt).

    A captioner gives no hidden states; the value vectors of the last self-attention layer stand
    for them, which contrastive search compares.

    Args:
        sampler: a `keras_hub.samplers.Sampler` or anything with its call arguments.
        signature: hashable; the sampler itself unless given.
    """

    def __init__(self, sampler, signature=None):
        self.sampler = sampler
        self.signature = (type(self), sampler if signature is None else signature)

    @classmethod
    def from_name(cls, name, **options):
        """The sampler called `name` in `KERAS_HUB_NAMES`, made with `options`."""
        import keras_hub  # takes seconds: only who asks for it waits

        sampler_class = getattr(keras_hub.samplers, KERAS_HUB_NAMES[name])
        known = {*inspect.signature(sampler_class).parameters, "temperature"} - {"kwargs"}
        for option in options:
            if option not in known:
                raise InvalidInputError(
                    f"sampler {name!r} has no option {option!r}; it takes {sorted(known)}"
                )
        return cls(sampler_class(**options), (name, *sorted(options.items())))

    def draw_seed(self):
        """The seed of one call: the sampler's own, or a fresh one from Keras' global generator."""
        own_seed = getattr(self.sampler, "seed", None)
        return draw_fresh_seed() if own_seed is None else own_seed

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
        """Returns token ids (B, T) and scores (B,), or (B, K, T) and (B, K) when it returns beams.

        The scores come from one more pass over the result; they are None where not asked for.
        """
        token_ids, forced = rules.start(prompt_token_ids, prompt_mask)
        # On JAX the sampler's seed variables must not be changed from within `jax.jit`.
        on_jax = keras.backend.backend() == "jax"
        with keras.StatelessScope() if on_jax else contextlib.nullcontext():
            for state in getattr(self.sampler, "variables", ()):
                state.assign(ops.cast(ops.stack([ops.cast(seed, "int32"), 0]), state.dtype))
            sequences = self._sample(decode_step, cache, token_ids, forced, rules)
        several = len(sequences.shape) == 3
        rows_per_image = sequences.shape[1] if several else 1
        forced = ops.repeat(forced, rows_per_image, axis=0)
        sequences = rules.trim(ops.reshape(sequences, (-1, rules.max_length)), forced)
        scores = None
        if return_scores:
            row_cache, shared = split_cache(cache)
            cache = {**repeat_rows(row_cache, rows_per_image), **shared}
            scores = score_sequences(decode_step, cache, sequences, forced, rules=rules)
        if several:
            sequences = ops.reshape(sequences, (-1, rows_per_image, rules.max_length))
            scores = None if scores is None else ops.reshape(scores, (-1, rows_per_image))
        return sequences, scores

    def _sample(self, decode_step, cache, token_ids, forced, rules):
        """Runs the sampler from position 1 on: (B, T), or (B, K, T) when it returns its beams."""
        last = max(rules.max_length - 2, 0)

        def feed(prompt, cache, index):
            # Contrastive search also looks past the last position; that answer is not used.
            index = ops.minimum(index, last)
            logits, cache = decode_step(ops.expand_dims(prompt[:, index], 1), cache, index)
            values = tree.flatten(cache["self_attention"])[-1][..., index, :]  # (rows, H, d)
            hidden_state = ops.reshape(values, (-1, math.prod(values.shape[1:])))
            return ops.cast(logits, "float32"), hidden_state, cache

        _, first_state, _ = feed(token_ids, cache, ops.convert_to_tensor(0, "int32"))
        hidden_states = ops.zeros_like(ops.expand_dims(token_ids, -1), dtype=first_state.dtype)
        hidden_states += ops.expand_dims(first_state, 1)  # position 0; later ones are written over

        def next_logits(prompt, state, index):
            here = state["forced"]
            logits, hidden_state, rows = feed(prompt, state["captioner"], index - 1)
            place = ops.minimum(index, rules.max_length - 1)
            logits = rules.allow(logits, place)
            logits = _certain(logits, rules.pad_token_id, rules.ended(prompt, here, index))
            logits = _certain(logits, ops.expand_dims(prompt[:, place], 1), here[:, place])
            return logits, hidden_state, {"captioner": rows, "forced": here}

        result = self.sampler(
            next_logits,
            token_ids,
            cache={"captioner": cache, "forced": forced},
            index=1,
            mask=forced,
            stop_token_ids=[rules.eos_token_id],
            hidden_states=hidden_states,
        )
        return ops.cast(result[0] if isinstance(result, (tuple, list)) else result, "int32")


def _certain(logits, token_ids, where):
    """Gives `token_ids` (rows, 1) all the probability in the rows `where` (rows,) is true."""
    chosen = ops.arange(logits.shape[-1]) == token_ids
    certain = ops.where(chosen, 0.0, NEGATIVE_INFINITY)
    return ops.where(ops.expand_dims(where, 1), certain, logits)
