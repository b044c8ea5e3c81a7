"""The image-text contrastive loss.

Shapes: B local examples, G examples of the global batch (all replicas), E embedding width.
"""

from keras import ops

from official_coca.losses import cross_replica


def _mix(x):
    """Spreads every bit of an int32 over all of them: MurmurHash3's finaliser, wrapping around."""
    for shift, factor in ((16, -2048144789), (13, -1028477387), (16, 1)):
        x = ops.bitwise_xor(x, ops.bitwise_right_shift(x, shift)) * factor
    return x


def text_fingerprints(token_ids, is_token):
    """(B, 2) int32 hashes of captions: equal for equal texts, whatever their padding.

    Two hashes, 64 bits together, stand in for the texts, so that replicas can compare
    captions that were trimmed to different lengths.

    Args:
        token_ids: (B, L) int.
        is_token: (B, L) boolean, False on padding.
    """
    length = token_ids.shape[1] if token_ids.shape[1] is not None else ops.shape(token_ids)[1]
    positions = ops.arange(length, dtype="int32")
    ids = ops.cast(token_ids, "int32")
    hashes = []
    for id_factor, position_factor in ((-1640531527, 374761393), (-2048144789, 668265263)):
        mixed = _mix(ids * id_factor + (positions + 1) * position_factor)
        hashes.append(ops.sum(ops.where(is_token, mixed, 0), axis=1))
    return ops.stack(hashes, axis=1)


def contrastive_loss(image_embedding, text_embedding, temperature, example_keys):
    """Image-to-text plus text-to-image softmax cross-entropy over the global batch (CoCa Eq. 2).

    The sum of the two directions, as in the paper (other ports take the mean). Examples with equal
    keys are positives of each other and share the target, as in UniCL (arXiv 2204.03610, Eq. 3);
    with keys that all differ this is the paper's loss.

    Args:
        image_embedding: (B, E) float32, L2-normalised.
        text_embedding: (B, E) float32, L2-normalised.
        temperature: scalar by which similarities are divided.
        example_keys: (B, K) int; rows that are equal mark positives.

    Returns:
        `(losses, image_to_text_hits, text_to_image_hits)`, each (B,) float32: the loss of each
        local example (its mean over all replicas is the global loss), and whether its best match
        in the global batch is a positive.
    """
    is_positive = ops.all(
        example_keys[:, None, :] == cross_replica.gather(example_keys)[None, :, :], axis=-1
    )
    targets = ops.cast(is_positive, "float32")
    targets = targets / ops.sum(targets, axis=1, keepdims=True)

    def one_direction(queries, candidates):
        similarities = ops.matmul(queries, ops.transpose(cross_replica.gather(candidates)))
        similarities = similarities / temperature
        losses = -ops.sum(targets * ops.log_softmax(similarities, axis=-1), axis=-1)
        best = ops.argmax(similarities, axis=-1)
        hits = ops.take_along_axis(is_positive, best[:, None], axis=1)[:, 0]
        return losses, ops.cast(hits, "float32")

    image_to_text, image_to_text_hits = one_direction(image_embedding, text_embedding)
    text_to_image, text_to_image_hits = one_direction(text_embedding, image_embedding)
    return image_to_text + text_to_image, image_to_text_hits, text_to_image_hits
