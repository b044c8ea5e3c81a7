"""Captions of a few rows at a time, each with the bits that it has beside any other rows.

A batch of one reads every weight for every token, so that captions row by row cost many times what
those of a batch do. See `layers/alike_rows.py` for why rows of a group keep their bits.

Shapes: B rows, N groups of R rows, T tokens of a caption.
"""

import tensorflow as tf

from official_coca.layers.alike_rows import GROUP_SIZE, alike_rows, fills_registers
from official_coca.models.protocols import GroupCaptioner
from official_coca.serving.row_by_row import map_entries, row_by_row


def can_write_in_groups(model, sampler):
    """Whether captions of a model by a sampler keep their bits in groups."""
    return (
        isinstance(model, GroupCaptioner)
        and model.compute_dtype == "float32"
        and all(fills_registers(width) for width in model.decoding_widths)
        and getattr(sampler, "rows_are_independent", False)
    )


def write_in_groups(model, sampler, caption_length, images, prompt_token_ids, prompt_mask):
    """Encodes images row by row and writes their captions in groups.

    Args:
        model, sampler: that `can_write_in_groups`.
        caption_length: T.
        images: (B, H, W, 3), preprocessed.
        prompt_token_ids: (B, T) int32.
        prompt_mask: (B, T) boolean.

    Returns:
        {"token_ids": (B, T), "scores": (B,)}.
    """

    def write(image_cache, prompt_token_ids, prompt_mask):
        cache = {**model.token_cache(GROUP_SIZE, caption_length), **image_cache}
        with alike_rows():
            return model.generate_from_cache(
                cache, prompt_token_ids, prompt_mask, tf.constant(0), sampler, caption_length
            )

    image_cache = row_by_row(model.image_cache, (images,), model.weights)
    return _in_groups(write, (image_cache, prompt_token_ids, prompt_mask), model.weights)


def _in_groups(function, tensors, variables):
    """Applies `function` to `GROUP_SIZE` rows at a time.

    The last group is filled up with copies of the last row, which take no more steps than it.

    Args:
        function: takes a structure like `tensors` with groups of rows and returns one of tensors.
        tensors: a tuple of structures of tensors (B, ...) with static sizes but for B.
        variables: the Keras variables that `function` may read.
    """
    num_rows = tf.shape(tf.nest.flatten(tensors)[0])[0]
    num_groups = -(-num_rows // GROUP_SIZE)
    rows = tf.minimum(tf.range(num_groups * GROUP_SIZE), num_rows - 1)

    def of_group(rows):
        return function(*tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), tensors))

    groups = tf.ensure_shape(tf.reshape(rows, (num_groups, GROUP_SIZE)), (None, GROUP_SIZE))
    results = map_entries(of_group, (groups,), variables)
    return tf.nest.map_structure(
        lambda result: tf.reshape(result, (-1, *result.shape[2:]))[:num_rows], results
    )
