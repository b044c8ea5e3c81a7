"""Boolean attention masks: True where a query (row) may see a key (column).

Shapes: B batch, L tokens.
"""

from keras import ops


def causal_mask(length):
    """(L, L): each token sees itself and the tokens before it."""
    positions = ops.arange(length)
    return positions[:, None] >= positions[None, :]


def causal_mask_with_class_token(is_token):
    """The mask of a caption with its class token appended last (CoCa section 3.2).

    Tokens are causal, so with right padding no token sees padding, and none sees the class token.
    The class token sees every real token and itself, never padding.

    Args:
        is_token: (B, L) boolean, False on padding.

    Returns:
        (B, 1, L + 1, L + 1) boolean.
    """
    length = is_token.shape[1] if is_token.shape[1] is not None else ops.shape(is_token)[1]
    causal = causal_mask(length + 1)
    seen_by_class_token = ops.concatenate([is_token, ops.ones_like(is_token[:, :1])], axis=1)
    is_class_row = (ops.arange(length + 1) == length)[:, None]
    return ops.where(is_class_row[None], seen_by_class_token[:, None, :], causal[None])[:, None]
