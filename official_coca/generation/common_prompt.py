"""Feeding a prompt before the rows are split into beams.

B images, T = max_length positions.
"""

from keras import ops


def feed_common_prompt(step, token_ids, prompt_lengths, row_cache):
    """Feeds what every row is given, once per image, all but the last token.

    Args:
        step: what `bind_step` returns.
        token_ids: (B, T).
        prompt_lengths: (B,) int.
        row_cache: with one row per image.

    Returns: the index of the first token that is not fed yet, scalar int, and the cache.
    """
    index = ops.convert_to_tensor(0, "int32")
    if token_ids.shape[1] == 1:
        return index, row_cache
    # Of no rows the smallest would be the largest integer there is.
    last_common = ops.min(prompt_lengths, initial=token_ids.shape[1]) - 1
    return ops.while_loop(
        lambda index, row_cache: index < last_common,
        lambda index, row_cache: (index + 1, step(token_ids[:, index], row_cache, index)[1]),
        (index, row_cache),
    )
