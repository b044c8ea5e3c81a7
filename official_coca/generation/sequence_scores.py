"""The log-probability a captioner gives to sequences that are already there.

B images, K sequences per image, T = max_length positions.
"""

from keras import ops

from official_coca.generation.captioner_cache import bind_step, split_cache
from official_coca.generation.sampling import log_probability


def score_sequences(decode_step, cache, token_ids, forced, *, rules):
    """Sums the log-probabilities of the tokens that were generated, up to and including EOS.

    Args:
        decode_step: see `generate`.
        cache: an unused cache with B * K rows; its cross-attention part may have B.
        token_ids: (B * K, T) finished sequences, PAD after EOS.
        forced: (B * K, T) bool, the positions of the prompt, which cost nothing.
        rules: the `DecodingRules` they were generated under.

    Returns: (B * K,) float32.
    """
    row_cache, shared = split_cache(cache)
    step = bind_step(decode_step, shared)

    def body(index, row_cache, scores):
        logits, row_cache = step(token_ids[:, index], row_cache, index)
        following = token_ids[:, index + 1]
        uncounted = ops.logical_or(forced[:, index + 1], following == rules.pad_token_id)
        scores += ops.where(uncounted, 0.0, log_probability(logits, following))
        return index + 1, row_cache, scores

    # The last token that is no PAD, anywhere: a prompt may hold the id of PAD as a word.
    positions = ops.arange(token_ids.shape[1], dtype="int32")
    longest = ops.max(ops.where(token_ids != rules.pad_token_id, positions, 0)) + 1
    state = (
        ops.convert_to_tensor(0, "int32"),
        row_cache,
        ops.zeros_like(token_ids[:, 0], dtype="float32"),
    )
    return ops.while_loop(lambda index, *_: index < longest - 1, body, state)[2]
