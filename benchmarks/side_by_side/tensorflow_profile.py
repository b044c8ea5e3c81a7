"""Where TensorFlow spends the time of a function, by operation."""

import collections
import pathlib
import re
import tempfile

import tensorflow as tf

# Calls of functions and loops contain the operations that are counted by themselves.
_CONTAINERS = ("PartitionedCall", "StatefulPartitionedCall", "While", "StatelessWhile", "If")


def profile(run, calls):
    """Seconds of the operations of one call, summed over the threads that start them.

    Args:
        run: function without arguments.
        calls: how often it runs while it is watched.

    Returns:
        {"operation": rows, "part": rows} of (name, seconds); parts are the outer name scopes.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as directory:
        tf.profiler.experimental.start(directory)
        for _ in range(calls):
            run()
        tf.profiler.experimental.stop()
        (path,) = pathlib.Path(directory).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    operations, parts = collections.Counter(), collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                metadata = plane.event_metadata[event.metadata_id]
                name, _, kind = metadata.name.rpartition(":")
                if name and kind == metadata.display_name and kind not in _CONTAINERS:
                    seconds = event.duration_ps * 1e-12 / calls
                    operations[kind] += seconds
                    parts[_part(name)] += seconds
    return {"operation": list(operations.items()), "part": list(parts.items())}


def _part(name):
    """The outermost scopes without Keras' and TensorFlow's numbers, as "gradient_tape/pooler"."""
    scopes = [re.sub(r"_\d+$", "", scope) for scope in name.split("/")[:-1]]
    return "/".join(scopes[: 2 if scopes[:1] in (["gradient_tape"], ["while"]) else 1])
