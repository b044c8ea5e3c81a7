"""What the losses need from the other replicas of `tf.distribute`.

Outside a strategy of several replicas, and on other backends than TensorFlow, each function is the
identity. B examples of one replica, R replicas.
"""

import keras
from keras import ops


def _replica_context():
    """The replica context of a strategy with several replicas, or None."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context


def num_replicas():
    """R, the number of replicas that share a step."""
    context = _replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def gather(tensor):
    """(B, ...) of each replica → (R * B, ...) of all; gradients flow back to their replicas."""
    context = _replica_context()
    return tensor if context is None else context.all_gather(tensor, axis=0)


def global_mean(tensor):
    """The mean of a tensor over the replicas."""
    context = _replica_context()
    if context is None:
        return tensor
    import tensorflow as tf

    return context.all_reduce(tf.distribute.ReduceOp.MEAN, tensor)


def example_numbers(batch_size):
    """(B,) int32: a number for each local example that no other example of the step has."""
    numbers = ops.arange(batch_size, dtype="int32")
    context = _replica_context()
    if context is None:
        return numbers
    return numbers + batch_size * ops.cast(context.replica_id_in_sync_group, "int32")
