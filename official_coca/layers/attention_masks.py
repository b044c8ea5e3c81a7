"""Boolean attention masks: True where a query (row) may see a key (column).

Shapes: B batch, L tokens.
"""

from keras import ops

from official_coca.errors import InvalidInputError

CLASS_TOKEN_MASKS = ("paper", "open_clip")


def causal_mask(length):
    """(L, L): each token sees itself and the tokens before it."""
    positions = ops.arange(length)
    return positions[:, None] >= positions[None, :]


def causal_mask_with_class_token(is_token, kind="paper"):
    """The mask of a caption with its class token appended last (CoCa section 3.2).

    Everything is causal, so no token sees the class token, and padding is hidden from all.

    Args:
        is_token: (B, L) boolean, False on padding.
        kind: "paper": the class token sees every real token and itself. "open_clip": what is
            hidden is shifted by one place to the right, so that the class token sees the first
            padding and, in a row with padding, not itself. Released open_clip weights were trained
            so (open_clip issues 549 and 550).

    Returns:
        (B, 1, L + 1, L + 1) boolean.
    """
    length = is_token.shape[1] if is_token.shape[1] is not None else ops.shape(is_token)[1]
    always = ops.ones_like(is_token[:, :1])
    parts = [is_token, always] if kind == "paper" else [always, is_token]
    visible = ops.concatenate(parts, axis=1)
    return ops.logical_and(causal_mask(length + 1)[None], visible[:, None, :])[:, None]


def mark_visible(visible, is_token, index, kind="paper"):
    """Notes, in step-by-step decoding, whether the token at `index` may be seen.

    Args:
        visible: (B, L + 1) boolean, True where nothing is noted yet.
        is_token: (B, 1) boolean, False where the token is padding.
        index: scalar int.
        kind: as in `causal_mask_with_class_token`.

    Returns:
        (B, L + 1) boolean.
    """
    place = index if kind == "paper" else index + 1
    here = ops.arange(visible.shape[1]) == place
    return ops.where(here, is_token, visible)


def check_class_token_mask(kind):
    """Raises `InvalidInputError` for a kind of mask that does not exist."""
    if kind not in CLASS_TOKEN_MASKS:
        raise InvalidInputError(
            f"class_token_mask={kind!r} is unknown; choose one of {', '.join(CLASS_TOKEN_MASKS)}"
        )
