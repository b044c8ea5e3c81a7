"""Runs a batch of requests in one call of the model and hands each its own rows.

Shapes: B rows of a request; a batch has the rows of its requests one after the other.
"""

import concurrent.futures
import dataclasses
import logging
import time
import weakref

import numpy as np
import tensorflow as tf

from official_coca.serving.request_error import RequestError

_LOGGER = logging.getLogger(__name__)
# What TensorFlow raises for the values of its inputs; everything else is the server's fault.
_CLIENT_ERRORS = (
    tf.errors.InvalidArgumentError,
    tf.errors.OutOfRangeError,
    tf.errors.FailedPreconditionError,
    tf.errors.UnimplementedError,
)


class Work(concurrent.futures.Future):
    """The future of a request's outputs, which tells whether anybody still waits for them."""

    is_wanted = True

    def cancel(self):
        self.is_wanted = False
        return super().cancel()


@dataclasses.dataclass(eq=False)
class QueuedRequest:
    """A request that waits for a batch.

    version, signature: `ServedVersion` and its `Signature`.
    inputs: {name: array}.
    rows: B.
    group: requests with equal groups may be merged, if `merges`.
    deadline, arrived: of `time.monotonic()`.
    future: `Work`.
    """

    version: object
    signature: object
    inputs: dict
    rows: int
    group: object
    merges: bool
    deadline: float
    arrived: float
    future: Work


class _NotByRowsError(Exception):
    """A signature's outputs do not have one entry for each row of its inputs."""


class BatchRunner:
    """Runs batches; one that fails is run again request by request.

    So only the request at fault fails. A signature whose outputs have no entry for each row is
    not merged again.

    Args:
        options: `batching_options.BatchingOptions`.
        metrics: `ServerMetrics`.
    """

    def __init__(self, options, metrics):
        self._options = options
        self._metrics = metrics
        self._unmergeable = weakref.WeakKeyDictionary()  # version: names of signatures

    def may_merge(self, version, signature):
        """Whether requests for a `Signature` may be put together, by what is known so far."""
        return signature.may_be_by_rows and signature.name not in self._unmergeable.get(version, ())

    def check_uncut(self, inputs):
        """Refuses a request that runs in one piece if that would keep a thread for too long.

        Raises:
            RequestError: 400.
        """
        strings = sum(array.size for array in inputs.values() if array.dtype == object)
        if strings > self._options.max_uncut_strings:
            raise RequestError(
                400,
                f"the request has {strings} strings and cannot be cut into batches; it may have "
                f"{self._options.max_uncut_strings}",
            )

    def run(self, batch):
        """Fulfils the futures of a list of `QueuedRequest` of one group."""
        if not batch:  # their clients have gone
            return
        try:
            merges = all(item.merges for item in batch)
            results = self._run_merged(batch) if merges else [self._run_alone(batch[0])]
        except _NotByRowsError as error:
            _LOGGER.warning("%s; its requests are not merged from now on", error)
            names = self._unmergeable.setdefault(batch[0].version, set())
            names.add(batch[0].signature.name)
            for item in batch:
                item.merges = False
                self.run([item])
        except Exception as error:  # of any kind: one request must not stop the thread
            if len(batch) == 1:
                batch[0].future.set_exception(_to_request_error(error, batch[0].signature))
                return
            for item in batch:
                self.run([item])
        else:
            for item, outputs in zip(batch, results):
                item.future.set_result(outputs)

    def _run_alone(self, item):
        self.check_uncut(item.inputs)
        self._metrics.count_batch(item.signature.name, item.rows)
        return item.version.run(item.signature.name, item.inputs)

    def _run_merged(self, batch):
        """Returns the outputs of each request of the batch."""
        first = batch[0]
        shared = self._options.shared_inputs.get(first.signature.name, ())
        inputs = {
            name: array
            if name in shared or len(batch) == 1
            else np.concatenate([item.inputs[name] for item in batch])
            for name, array in first.inputs.items()
        }
        rows, size = sum(item.rows for item in batch), self._options.max_batch_size
        pieces = [
            self._run_piece(first, inputs, shared, start, min(start + size, rows))
            for start in range(0, rows, size)
        ]
        outputs = {name: [piece[name] for piece in pieces] for name in pieces[0]}
        outputs = {name: _joined(first.signature, name, parts) for name, parts in outputs.items()}
        ends = np.cumsum([item.rows for item in batch])
        return [
            {name: array[end - item.rows : end] for name, array in outputs.items()}
            for item, end in zip(batch, ends)
        ]

    def _run_piece(self, item, inputs, shared, start, end):
        """Returns the outputs of rows `start` to `end`; `item` is any request of the batch."""
        # Later pieces are of one request alone.
        if start and (item.deadline <= time.monotonic() or not item.future.is_wanted):
            raise RequestError(504, f"the deadline passed after {start} rows")
        rows = end - start
        padding = self._padded_size(rows) - rows
        piece = {
            name: array if name in shared else _pad(array[start:end], padding)
            for name, array in inputs.items()
        }
        self._metrics.count_batch(item.signature.name, rows)
        outputs = item.version.run(item.signature.name, piece)
        for name, array in outputs.items():
            if array.shape[:1] != (rows + padding,):
                raise _NotByRowsError(
                    f"output {name} of signature {item.signature.name} has shape {array.shape} "
                    f"for {rows + padding} rows"
                )
        return {name: array[:rows] for name, array in outputs.items()}

    def _padded_size(self, rows):
        sizes = (size for size in self._options.allowed_batch_sizes if size >= rows)
        return min(sizes, default=rows)


def _joined(signature, name, parts):
    if len({part.shape[1:] for part in parts}) > 1:
        raise _NotByRowsError(
            f"output {name} of signature {signature.name} has other sizes for other rows"
        )
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _pad(array, count):
    """Repeats the last row `count` times: a row that the model has to take anyway."""
    return np.concatenate([array, np.repeat(array[-1:], count, axis=0)]) if count else array


def _to_request_error(error, signature):
    if isinstance(error, RequestError):
        return error
    message = _last_line(str(getattr(error, "message", error))) or type(error).__name__
    if isinstance(error, _CLIENT_ERRORS):
        return RequestError(400, f"signature {signature.name} refused its inputs: {message}")
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return RequestError(429, "the model ran out of memory; send fewer rows", retry_after=1)
    _LOGGER.error("signature %s failed", signature.name, exc_info=error)
    return RequestError(500, f"signature {signature.name} failed: {message}")


def _last_line(message):
    """What TensorFlow has to say: the last line before the nodes that it lists in [[ ]]."""
    lines = [line.strip() for line in message.splitlines()]
    return next((line[:300] for line in reversed(lines) if line and line[:2] != "[["), "")
