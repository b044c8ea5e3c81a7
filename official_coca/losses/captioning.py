"""The captioning loss.

Shapes: T tokens in any arrangement (flat, or B x L), V vocabulary.
"""

from keras import ops

from official_coca.losses import cross_replica


def token_cross_entropy(logits, targets):
    """Negative log-likelihood of each next token (CoCa Eq. 3), in nats.

    Args:
        logits: (T, V) float32.
        targets: (T,) int, the tokens to come.

    Returns:
        `(losses, hits)`, each (T,) float32: the loss of each token, and whether it was the
        likeliest.
    """
    target_logits = ops.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    losses = ops.logsumexp(logits, axis=-1) - target_logits
    hits = ops.cast(ops.argmax(logits, axis=-1), targets.dtype) == targets
    return losses, ops.cast(hits, "float32")


def mean_over_tokens(losses, weights):
    """`divide_by_token_count` of the losses (T,) of tokens, 0 of padding's."""
    return divide_by_token_count(ops.sum(losses * weights), weights)


def divide_by_token_count(total, weights):
    """The mean over the real tokens of the global batch.

    The denominator is the token count of **all** replicas (as the mean of the replicas' results is
    taken later): a local count would weigh the tokens of short captions more.

    Args:
        total: sum of weights times losses of this replica, a float32 scalar.
        weights: (T,) float32, 0 on padding.

    Returns:
        Scalar whose mean over the replicas is the global mean.
    """
    mean_token_count = cross_replica.global_mean(ops.sum(weights))
    return total / ops.maximum(mean_token_count, 1.0)
