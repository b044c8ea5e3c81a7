"""The flags of the model server; those that TF Serving has carry its names."""

import argparse
import math
import os
import pathlib
import re

from official_coca.errors import InvalidInputError
from official_coca.serving.batching_options import BatchingOptions
from official_coca.serving.listener import LOOPBACK, port_number

# Slips of the keyboard beyond these: more than the cores of any machine, and than requests wait.
_MOST_THREADS = 1024
_MOST_ROWS = 1_000_000
_MOST_MICROS = 60_000_000


def add_server_flags(parser):
    """Adds the flags to an `argparse.ArgumentParser`."""
    add = parser.add_argument
    add("--model_dir", required=True, type=pathlib.Path, help="has a SavedModel in each number")
    add("--model_name", type=_name, default="coca", help="in the paths of requests")
    add("--host", default=LOOPBACK, help="address to listen on")
    add("--port", type=port_number, default=8501, help="0 takes a free one")
    add(
        "--file_system_poll_wait_seconds",
        type=_seconds,
        default=1.0,
        help="between two looks at the directory",
    )
    _add_batching_flags(parser.add_argument_group("batching").add_argument)
    _add_threads(parser.add_argument_group("threads").add_argument)
    _add_limits(parser.add_argument_group("limits").add_argument)


def batching_options(flags):
    """Returns the `BatchingOptions` of parsed flags.

    Raises:
        InvalidInputError: allowed_batch_sizes does not end with max_batch_size.
    """
    sizes = flags.allowed_batch_sizes
    if sizes and (list(sizes) != sorted(set(sizes)) or sizes[-1] != flags.max_batch_size):
        raise InvalidInputError(
            "--allowed_batch_sizes must ascend and end with --max_batch_size="
            f"{flags.max_batch_size}, got {','.join(map(str, sizes))}"
        )
    shared = {} if flags.shared_inputs is None else {"shared_inputs": dict(flags.shared_inputs)}
    return BatchingOptions(
        max_batch_size=flags.max_batch_size,
        batch_timeout_micros=flags.batch_timeout_micros,
        allowed_batch_sizes=sizes,
        num_batch_threads=flags.num_batch_threads,
        max_queued_requests=flags.max_queued_requests,
        unmerged=flags.unmerged,
        max_uncut_strings=flags.max_uncut_strings,
        max_combinations=flags.max_combinations,
        **shared,
    )


def set_threads(flags):
    """Gives TensorFlow the threads that parsed flags name; before it computes anything."""
    import tensorflow as tf

    threading = tf.config.threading
    threading.set_intra_op_parallelism_threads(flags.tensorflow_intra_op_parallelism)
    threading.set_inter_op_parallelism_threads(flags.tensorflow_inter_op_parallelism)


def _add_batching_flags(add):
    add("--max_batch_size", type=_rows, default=16, help="rows of a batch")
    add(
        "--batch_timeout_micros",
        type=_micros,
        default=2000,
        help="longest wait of a request for others to join it",
    )
    add(
        "--allowed_batch_sizes",
        type=_sizes,
        default=(),
        help="as 1,8,32: sizes that batches are padded to; any size by default",
    )
    add(
        "--num_batch_threads",
        type=_batch_threads,
        default=os.cpu_count() or 1,
        help="batches that run at the same time",
    )
    add(
        "--shared_inputs",
        type=_shared_inputs,
        action="append",
        help="as classify:labels,templates, which is the default: inputs that belong to the "
        "request as a whole; requests that differ in them are not merged; may be repeated",
    )
    add(
        "--unmerged",
        type=_names,
        default=("score",),
        help="signatures whose requests run alone, as score,rank",
    )
    add(
        "--max_uncut_strings",
        type=_positive,
        default=1024,
        help="pictures or texts of one request that cannot be cut into batches, as for score",
    )
    add(
        "--max_combinations",
        type=_positive,
        default=10_000,
        help="labels x templates, or images x texts, of one request",
    )


def _add_threads(add):
    add(
        "--tensorflow_intra_op_parallelism",
        type=_threads,
        default=0,
        help="threads of one operation, 0 for as many as there are cores; 1 gives many clients of "
        "a small model more answers, and one client of a large model slower ones",
    )
    add(
        "--tensorflow_inter_op_parallelism",
        type=_threads,
        default=0,
        help="operations of a batch at the same time, 0 for as many as there are cores",
    )


def _add_limits(add):
    add(
        "--max_queued_requests",
        type=_positive,
        default=256,
        help="requests that wait; more are answered with 429",
    )
    add(
        "--max_request_bytes",
        type=_positive,
        default=16 * 2**20,
        help="of a body; larger ones are answered with 413",
    )
    add(
        "--request_timeout_seconds",
        type=_seconds,
        default=30.0,
        help="longest time of a request, which its header X-Request-Timeout shortens",
    )
    add(
        "--keep_alive_seconds",
        type=_seconds,
        default=75.0,
        help="after which a connection that asks for nothing is closed; longer than a load "
        "balancer in front of the server keeps idle ones, which is 60 for many",
    )
    add(
        "--shutdown_grace_seconds",
        type=_seconds,
        default=30.0,
        help="for what was taken before the signal",
    )


def _positive(text):
    return _integer(text, 1, None)


def _rows(text):
    return _integer(text, 1, _MOST_ROWS)


def _micros(text):
    return _integer(text, 0, _MOST_MICROS)


def _batch_threads(text):
    return _integer(text, 1, _MOST_THREADS)


def _threads(text):
    return _integer(text, 0, _MOST_THREADS)


def _integer(text, least, most):
    if not re.fullmatch("[0-9]{1,18}", text) or not least <= int(text) <= (most or int(text)):
        limits = f"{least} or more" if most is None else f"{least} to {most}"
        raise argparse.ArgumentTypeError(f"must be a whole number, {limits}, got {text!r}")
    return int(text)


def _seconds(text):
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 86400:
        raise argparse.ArgumentTypeError(f"must be seconds, above 0 up to 86400, got {text!r}")
    return seconds


def _name(text):
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", text):
        raise argparse.ArgumentTypeError(f"must be of letters, digits, _, . and -, got {text!r}")
    return text


def _names(text):
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _sizes(text):
    return tuple(_rows(size.strip()) for size in text.split(","))


def _shared_inputs(text):
    signature, colon, names = text.partition(":")
    if not (signature and colon and _names(names)):
        raise argparse.ArgumentTypeError(f"must be SIGNATURE:INPUT,INPUT, got {text!r}")
    return signature, _names(names)
