"""Where TensorFlow spends the time of a function, by operation."""

import collections
import pathlib
import tempfile

import tensorflow as tf

# Calls of functions and loops contain the operations that are counted by themselves.
_CONTAINERS = ("PartitionedCall", "StatefulPartitionedCall", "While", "StatelessWhile", "If")


def profile(run, calls):
    """Seconds of each kind of operation in one call, summed over threads.

    Args:
        run: function without arguments.
        calls: how often it runs while it is watched.

    Returns:
        List of (name of the operation, seconds).
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as directory:
        tf.profiler.experimental.start(directory)
        for _ in range(calls):
            run()
        tf.profiler.experimental.stop()
        (path,) = pathlib.Path(directory).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    seconds = collections.Counter()
    for plane in space.planes:
        kinds = {
            number: metadata.display_name
            for number, metadata in plane.event_metadata.items()
            if metadata.name.endswith(f":{metadata.display_name}")
        }
        for line in plane.lines:
            for event in line.events:
                kind = kinds.get(event.metadata_id, "")
                if kind and kind not in _CONTAINERS:
                    seconds[kind] += event.duration_ps * 1e-12 / calls
    return list(seconds.items())
