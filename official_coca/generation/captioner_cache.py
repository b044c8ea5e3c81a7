"""How the decoding loops hold a captioner's cache.

B images, K token rows per image, H heads, L cached positions, N image tokens, d head size.

A cache is `{"self_attention": layers, "cross_attention": layers}`, a layer being its keys and its
values, each (B * K, H, L, d) or (B, H, N, d): apart, since cutting one out of a common tensor
would copy it at every step. The cross-attention part is computed once per image and never changes,
so a loop does not carry it and all rows of an image share it.
"""

from keras import ops, tree

_SHARED = "cross_attention"


def split_cache(cache):
    """Returns the part with one row per token row, and the part shared by an image's rows."""
    rows = {name: part for name, part in cache.items() if name != _SHARED}
    shared = {name: part for name, part in cache.items() if name == _SHARED}
    return rows, shared


def bind_step(decode_step, shared):
    """Returns `step(token_ids (rows,), row_cache, index) -> (logits (rows, V), row_cache)`."""

    def step(token_ids, row_cache, index):
        logits, cache = decode_step(ops.expand_dims(token_ids, 1), {**row_cache, **shared}, index)
        return ops.cast(logits, "float32"), {name: cache[name] for name in row_cache}

    return step


def repeat_rows(row_cache, repeats):
    """Gives each image `repeats` neighbouring rows of its own."""
    return tree.map_structure(lambda part: ops.repeat(part, repeats, axis=0), row_cache)


def take_rows(row_cache, rows):
    """Orders the rows anew; `rows` (B * K,) says where each comes from."""
    return tree.map_structure(lambda part: ops.take(part, rows, axis=0), row_cache)


def cached_positions(cache):
    """L, the most positions that this cache can hold."""
    return tree.flatten(cache["self_attention"])[0].shape[-2]
