"""Making tokens that a row already holds less likely.

R rows, T = max_length positions, V vocabulary.
"""

from keras import ops

from official_coca.errors import InvalidInputError
from official_coca.generation.places import flat_places, gather_places
from official_coca.generation.sampler_options import is_number


def require_repetition_penalty(value):
    """Raises `InvalidInputError` unless `value` is a finite number above 0."""
    if not is_number(value) or not 0 < value < float("inf"):
        raise InvalidInputError(
            f"repetition_penalty={value!r} is not a number above 0; 1.0 means none, 1.2 is usual"
        )


def penalise_repetition(logits, token_ids, index, penalty):
    """Divides positive logits of tokens up to `index` by `penalty`, multiplies negative ones by it.

    This is the penalised sampling of CTRL (Keskar et al. 2019, arXiv 1909.05858, section 4.1) with
    the sign of the logit heeded, as open_clip and transformers do it. A token counts once, however
    often it stands; BOS and the prompt count too.

    Args:
        logits: (R, V).
        token_ids: (R, T); what stands after `index` is not looked at.
        index: scalar int.
        penalty: above 1 discourages repetition, below 1 encourages it; 1 costs nothing.
    """
    if penalty == 1:
        return logits
    # Later positions name the first token once more: writing a value twice changes nothing.
    so_far = ops.arange(token_ids.shape[-1]) <= index
    token_ids = ops.where(so_far, token_ids, token_ids[:, :1])
    chosen = gather_places(logits, token_ids)
    chosen = ops.where(chosen < 0, chosen * penalty, chosen / penalty)
    places = flat_places(token_ids, logits.shape[-1])
    penalised = ops.scatter_update(
        ops.reshape(logits, (-1,)), ops.expand_dims(places, -1), ops.reshape(chosen, (-1,))
    )
    return ops.reshape(penalised, (-1, logits.shape[-1]))
