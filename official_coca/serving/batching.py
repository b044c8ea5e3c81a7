"""Merges the requests of many clients into batches, runs them, and hands each its own rows.

Shapes: B rows of a request; a batch has the rows of its requests one after the other.
"""

import collections
import concurrent.futures
import dataclasses
import logging
import math
import threading
import time

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


@dataclasses.dataclass(eq=False)
class _Waiting:
    version: object
    signature: object
    inputs: dict
    rows: int
    group: object
    merges: bool
    deadline: float
    arrived: float
    future: concurrent.futures.Future


class _NotByRowsError(Exception):
    """A signature's outputs do not have one entry for each row of its inputs."""


class BatchQueue:
    """A bounded queue of requests and the threads that run it in batches.

    A batch that fails is run again request by request, so that only the request at fault fails.

    Args:
        options: `batching_options.BatchingOptions`.
        metrics: `ServerMetrics`.
    """

    def __init__(self, options, metrics):
        self._options = options
        self._metrics = metrics
        self._condition = threading.Condition()
        self._groups = {}  # what may be merged: its requests, oldest first
        self._depth = 0
        self._found_unmergeable = set()  # signature names whose outputs are not by rows
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batches-{index}", daemon=True)
            for index in range(options.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def depth(self):
        """Requests that wait."""
        return self._depth

    def submit(self, version, signature, inputs, deadline):
        """Queues a request; returns a `concurrent.futures.Future` of its outputs {name: array}.

        Cancelling the future drops a request that still waits.

        Args:
            version: what runs it, `ServedVersion`.
            signature: `Signature` of the version.
            inputs: {name: array}.
            deadline: `time.monotonic()` after which nobody wants the answer.

        Raises:
            RequestError: 429 if the queue is full, 400 if the request is too large.
        """
        rows, group = self._group(version, signature, inputs)
        future = concurrent.futures.Future()
        now = time.monotonic()
        waiting = _Waiting(
            version,
            signature,
            inputs,
            rows,
            group=group or future,
            merges=group is not None,
            deadline=deadline,
            arrived=now,
            future=future,
        )
        with self._condition:
            if self._stopping:
                raise RequestError(503, "the server is shutting down", retry_after=1)
            if self._depth >= self._options.max_queued_requests:
                self._drop_unwanted(now)
            if self._depth >= self._options.max_queued_requests:
                raise RequestError(429, f"{self._depth} requests wait already", retry_after=1)
            queue = self._groups.setdefault(waiting.group, collections.deque())
            queue.append(waiting)
            self._depth += 1
            if len(queue) == 1 or self._is_full(queue):  # otherwise a thread watches it already
                self._condition.notify()
        return future

    def close(self, seconds):
        """Runs what waits, refuses the rest; returns whether the threads ended in time."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _group(self, version, signature, inputs):
        """Returns the rows of a request and the key of those that it merges with, None for none."""
        shared = self._options.shared_inputs.get(signature.name, ())
        alone = signature.name in self._options.unmerged
        self._check_size(inputs if alone else [name for name in shared if name in inputs], inputs)
        by_rows = {name: array for name, array in inputs.items() if name not in shared}
        sizes = {array.shape[:1] for array in by_rows.values()}
        if alone or signature.name in self._found_unmergeable or len(sizes) != 1:
            return 1, None
        (size,) = sizes
        if size in ((), (0,)):
            return 1, None
        shapes = tuple((name, array.shape[1:]) for name, array in sorted(by_rows.items()))
        values = tuple(_value(name, inputs[name]) for name in shared if name in inputs)
        return size[0], (version, signature.name, shapes, values)

    def _check_size(self, names, inputs):
        combinations = math.prod(len(np.atleast_1d(inputs[name])) for name in names)
        if combinations > self._options.max_combinations:
            raise RequestError(
                400,
                f"{' x '.join(names)} has {combinations} combinations; "
                f"a request may have {self._options.max_combinations}",
            )

    def _work(self):
        while (batch := self._take()) is not None:
            self._run(batch)
            del batch  # a waiting thread would keep the request's tensors and its version

    def _take(self):
        """Waits for a batch that is full or has waited long enough; None when all is done."""
        with self._condition:
            while True:
                now = time.monotonic()
                self._drop_unwanted(now)
                ready_at = {group: self._ready_at(queue) for group, queue in self._groups.items()}
                group = min(ready_at, key=ready_at.get, default=None)
                if group is not None and (ready_at[group] <= now or self._stopping):
                    batch = self._pop(group)
                    if self._groups:  # another thread watches what is left
                        self._condition.notify()
                    return batch
                if self._stopping:
                    return None
                self._condition.wait(None if group is None else ready_at[group] - now)

    def _ready_at(self, queue):
        head = queue[0]
        if not head.merges or self._is_full(queue):
            return head.arrived
        return head.arrived + self._options.batch_timeout_micros / 1e6

    def _is_full(self, queue):
        return sum(item.rows for item in queue) >= self._options.max_batch_size

    def _pop(self, group):
        queue = self._groups[group]
        batch, rows = [], 0
        while queue and (not batch or rows + queue[0].rows <= self._options.max_batch_size):
            batch.append(queue.popleft())
            rows += batch[-1].rows
        if not queue:
            del self._groups[group]
        self._depth -= len(batch)
        return [item for item in batch if item.future.set_running_or_notify_cancel()]

    def _drop_unwanted(self, now):
        for group, queue in list(self._groups.items()):
            unwanted = [item for item in queue if item.future.cancelled() or item.deadline <= now]
            for item in unwanted:
                queue.remove(item)
                self._metrics.count_expired()
                if item.future.set_running_or_notify_cancel():
                    item.future.set_exception(
                        RequestError(504, "the request waited past its deadline")
                    )
            self._depth -= len(unwanted)
            if not queue:
                del self._groups[group]

    def _run(self, batch):
        if not batch:  # their clients have gone
            return
        try:
            merges = all(item.merges for item in batch)
            results = self._run_merged(batch) if merges else [self._run_alone(batch[0])]
        except _NotByRowsError as error:
            _LOGGER.warning("%s; its requests are not merged from now on", error)
            self._found_unmergeable.add(batch[0].signature.name)
            for item in batch:
                item.merges = False
                self._run([item])
        except Exception as error:  # of any kind: one request must not stop the thread
            if len(batch) == 1:
                batch[0].future.set_exception(_to_request_error(error, batch[0].signature))
                return
            for item in batch:
                self._run([item])
        else:
            for item, outputs in zip(batch, results):
                item.future.set_result(outputs)

    def _run_alone(self, item):
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
        outputs = {
            name: parts[0] if len(parts) == 1 else np.concatenate(parts)
            for name, parts in outputs.items()
        }
        ends = np.cumsum([item.rows for item in batch])
        return [
            {name: array[end - item.rows : end] for name, array in outputs.items()}
            for item, end in zip(batch, ends)
        ]

    def _run_piece(self, item, inputs, shared, start, end):
        """Returns the outputs of rows `start` to `end`; `item` is any request of the batch."""
        if start and item.deadline <= time.monotonic():  # later pieces are of one request alone
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
        return min((size for size in self._options.allowed_batch_sizes if size >= rows), default=rows)


def _value(name, array):
    """What two requests that may be merged are equal in."""
    content = tuple(array.ravel()) if array.dtype == object else array.tobytes()
    return name, array.shape, content


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
