"""The one way from a captioner to token ids.

B images, K rows per image, P prompt positions, T = max_length positions, R returned sequences,
V vocabulary.
"""

import inspect

from keras import ops

from official_coca.errors import InvalidInputError
from official_coca.generation.beam_search import BeamSearch
from official_coca.generation.captioner_cache import cached_positions
from official_coca.generation.decoding_rules import DecodingRules
from official_coca.generation.keras_hub_adapter import KERAS_HUB_NAMES, KerasHubSampler
from official_coca.generation.open_clip_beam import OpenClipBeamSearch
from official_coca.generation.sampling import GreedySampler, TopKSampler, TopPSampler

_OWN_SAMPLERS = {
    "beam": BeamSearch,
    "greedy": GreedySampler,
    "open_clip_beam": OpenClipBeamSearch,
    "top_k": TopKSampler,
    "top_p": TopPSampler,
}
SAMPLER_NAMES = tuple(sorted([*_OWN_SAMPLERS, *KERAS_HUB_NAMES]))


def get_sampler(sampler="greedy", **options):
    """Returns a sampler that `generate` takes.

    Args:
        sampler: one of `SAMPLER_NAMES`, one of our samplers, or a keras_hub sampler object.
        **options: arguments of a sampler given by name, as `num_beams=3` for "beam".
    """
    if not isinstance(sampler, str):
        if options:
            raise InvalidInputError(
                f"option {sorted(options)[0]!r} belongs to the sampler's constructor; "
                f"pass it to {type(sampler).__name__}(...)"
            )
        is_object = not isinstance(sampler, type)
        if is_object and hasattr(sampler, "decode") and hasattr(sampler, "signature"):
            return sampler
        if is_object and callable(sampler):
            return KerasHubSampler(sampler)
        raise InvalidInputError(
            f"sampler {sampler!r} is neither a name nor a sampler object; "
            f"names are {', '.join(SAMPLER_NAMES)}"
        )
    if sampler in KERAS_HUB_NAMES:
        return KerasHubSampler.from_name(sampler, **options)
    if sampler not in _OWN_SAMPLERS:
        raise InvalidInputError(
            f"unknown sampler {sampler!r}; choose one of {', '.join(SAMPLER_NAMES)}, "
            "or pass a keras_hub sampler object"
        )
    sampler_class = _OWN_SAMPLERS[sampler]
    known = list(inspect.signature(sampler_class).parameters)
    for option in options:
        if option not in known:
            raise InvalidInputError(
                f"sampler {sampler!r} has no option {option!r}; "
                f"it takes {', '.join(known) or 'none'}"
            )
    return sampler_class(**options)


def generate(
    decode_step,
    cache,
    prompt_token_ids,
    prompt_mask,
    *,
    sampler="greedy",
    max_length,
    min_length=0,
    eos_token_id,
    pad_token_id,
    bos_token_id,
    vocabulary_size=None,
    open_clip_rules=False,
    seed=None,
    return_scores=True,
):
    """Continues prompts with a captioner; works eagerly, in `tf.function`, under XLA and `jax.jit`.

    PAD and BOS are never produced, unless open_clip's rules are asked for. A row ends with EOS or
    at `max_length` and is PAD from there on.

    Args:
        decode_step: `(token_ids (B * K, 1), cache, index) -> (logits (B * K, V), cache)`, the
            logits of the token after position `index`. The K rows of an image are neighbours and
            share its cross-attention cache.
        cache: fresh; see `captioner_cache`. L is at least `max_length - 1`.
        prompt_token_ids: (B, P) integers, right padded; each row begins with BOS.
        prompt_mask: (B, P), true where a token is given. Given tokens are kept as they are and
            cost nothing; they may differ in number between rows.
        sampler: what `get_sampler` takes.
        max_length: T, the most tokens of a row, BOS and prompt included.
        min_length: EOS is not produced before this many tokens, BOS and prompt included.
        eos_token_id: ends a row.
        pad_token_id: fills a row.
        bos_token_id: opens a row.
        vocabulary_size: ids from here on are never produced; None allows all.
        open_clip_rules: decode as open_clip does; see `DecodingRules`.
        seed: scalar integer or tensor for samplers that draw. None takes `sampler.draw_seed()`,
            which a compiled function would freeze: pass it in there.
        return_scores: False spares the work of scores where they are not a by-product.

    Returns: a dict of
        "token_ids": (B, T) int32, or (B, R, T) from a sampler that returns several sequences.
        "scores": (B,) or (B, R) float32, unless `return_scores` is False. The model's
            log-probability of the generated tokens, EOS included; beam search divides it by its
            length penalty.
    """
    sampler = get_sampler(sampler)
    if pad_token_id == eos_token_id:
        raise InvalidInputError(
            f"pad_token_id and eos_token_id are both {pad_token_id}; padding must not end a row"
        )
    _check_lengths(max_length, min_length, prompt_token_ids.shape[1], cached_positions(cache))
    rules = DecodingRules(
        max_length=max_length,
        min_length=min_length,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
        bos_token_id=bos_token_id,
        vocabulary_size=vocabulary_size,
        open_clip_rules=open_clip_rules,
    )
    token_ids, scores = sampler.decode(
        decode_step,
        cache,
        ops.convert_to_tensor(prompt_token_ids),
        ops.convert_to_tensor(prompt_mask),
        rules=rules,
        seed=sampler.draw_seed() if seed is None else seed,
        return_scores=return_scores,
    )
    return {"token_ids": token_ids, "scores": scores} if return_scores else {"token_ids": token_ids}


def _check_lengths(max_length, min_length, prompt_width, positions):
    for name, value, least in (("max_length", max_length, 1), ("min_length", min_length, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InvalidInputError(f"{name}={value!r} is not a whole number from {least} on")
    if max_length < prompt_width:
        raise InvalidInputError(
            f"max_length={max_length} is smaller than the prompt of {prompt_width} tokens "
            "(BOS included); raise max_length or shorten the prompt"
        )
    if min_length > max_length:
        raise InvalidInputError(
            f"min_length={min_length} is greater than max_length={max_length}; lower min_length"
        )
    if max_length - 1 > positions:
        raise InvalidInputError(
            f"max_length={max_length} needs a cache of {max_length - 1} positions, this one has "
            f"{positions}; lower max_length to {positions + 1} or make the cache longer"
        )
