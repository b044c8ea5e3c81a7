"""Merges the requests of many clients into batches.

Shapes: B rows of a request; a batch has the rows of its requests one after the other.
"""

import collections
import math
import threading
import time

import numpy as np

from official_coca.serving.batch_runner import BatchRunner, QueuedRequest, Work
from official_coca.serving.request_error import RequestError


class BatchQueue:
    """A bounded queue of requests and the threads that run it in batches.

    A request waits for others to join it, but no longer once as many wait or run as were seen to at
    the same time of late: nobody else will come, and a client that is alone is answered at once.
    One thread, if there are several, is left for others by requests of more rows than a batch.

    Args:
        options: `batching_options.BatchingOptions`.
        metrics: `ServerMetrics`.
    """

    def __init__(self, options, metrics):
        self._options = options
        self._metrics = metrics
        self._runner = BatchRunner(options, metrics)
        self._condition = threading.Condition()
        self._groups = {}  # what may be merged: its requests, oldest first
        self._depth = 0
        self._present = 0  # requests that wait or run
        self._expected = math.inf  # the most that were present since a wait last was in vain
        self._large = 0  # requests of several batches that run
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
        """Queues a request; returns a `Work`, the future of its outputs {name: array}.

        Cancelling it drops a request that still waits, and ends a running one after the rows that
        are in the model.

        Args:
            version: what runs it, `ServedVersion`.
            signature: `Signature` of the version.
            inputs: {name: array}.
            deadline: `time.monotonic()` after which nobody wants the answer.

        Raises:
            RequestError: 429 if the queue is full, 400 if the request is too large.
        """
        inputs = self._with_one_for_each(signature, inputs)
        rows, group = self._group(version, signature, inputs)
        future = Work()
        now = time.monotonic()
        waiting = QueuedRequest(
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
            self._present += 1
            self._expected = max(self._expected, self._present)
            future.add_done_callback(self._leave)
            queue = self._groups.setdefault(waiting.group, collections.deque())
            queue.append(waiting)
            self._depth += 1
            # Otherwise a thread watches it already.
            if len(queue) == 1 or self._is_ready(queue):
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
        is_cut = not alone and self._runner.may_merge(version, signature) and len(sizes) == 1
        if not is_cut or sizes <= {(), (0,)}:
            self._runner.check_uncut(inputs)
            return max((len(np.atleast_1d(array)) for array in inputs.values()), default=1), None
        (size,) = sizes
        shapes = tuple((name, array.shape[1:]) for name, array in sorted(by_rows.items()))
        values = tuple(_value(name, inputs[name]) for name in shared if name in inputs)
        return size[0], (version, signature.name, shapes, values)

    def _with_one_for_each(self, signature, inputs):
        """Repeats what one entry is given of for all rows, so that the request can be cut."""
        names = self._options.one_for_all.get(signature.name, ())
        rows = {len(array) for name, array in inputs.items() if name not in names and array.ndim}
        if len(rows) != 1:
            return inputs
        (rows,) = rows
        return {
            name: np.repeat(array, rows, axis=0)
            if name in names and array.shape[:1] == (1,)
            else array
            for name, array in inputs.items()
        }

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
            self._runner.run(batch)
            self._end(batch)
            del batch  # a waiting thread would keep the request's tensors and its version

    def _take(self):
        """Waits for a batch that is full or has waited long enough; None when all is done."""
        with self._condition:
            while True:
                now = time.monotonic()
                self._drop_unwanted(now)
                ready_at = {
                    group: self._ready_at(queue)
                    for group, queue in self._groups.items()
                    if self._may_run(queue[0])
                }
                group = min(ready_at, key=ready_at.get, default=None)
                if group is not None and (ready_at[group] <= now or self._stopping):
                    batch = self._pop(group)
                    if self._groups:  # another thread watches what is left
                        self._condition.notify()
                    return batch
                if self._stopping:
                    return None
                self._condition.wait(None if group is None else ready_at[group] - now)

    def _may_run(self, item):
        most = max(1, self._options.num_batch_threads - 1)
        return self._large < most or not self._is_large(item)

    def _is_large(self, item):
        return item.rows > self._options.max_batch_size

    def _end(self, batch):
        if batch and self._is_large(batch[0]):
            with self._condition:
                self._large -= 1
                self._condition.notify()

    def _ready_at(self, queue):
        head = queue[0]
        if self._is_ready(queue):
            return head.arrived
        return head.arrived + self._options.batch_timeout_micros / 1e6

    def _is_ready(self, queue):
        return not queue[0].merges or self._is_full(queue) or self._present >= self._expected

    def _is_full(self, queue):
        return sum(item.rows for item in queue) >= self._options.max_batch_size

    def _pop(self, group):
        queue = self._groups[group]
        if not self._is_ready(queue):  # it waited as long as it may, and not all have come
            self._expected = self._present
        batch, rows = [], 0
        while queue and (not batch or rows + queue[0].rows <= self._options.max_batch_size):
            batch.append(queue.popleft())
            rows += batch[-1].rows
        if not queue:
            del self._groups[group]
        self._depth -= len(batch)
        batch = [item for item in batch if item.future.set_running_or_notify_cancel()]
        self._large += bool(batch) and self._is_large(batch[0])
        return batch

    def _leave(self, _):
        with self._condition:
            self._present -= 1

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


def _value(name, array):
    """What two requests that may be merged are equal in."""
    content = tuple(array.ravel()) if array.dtype == object else array.tobytes()
    return name, array.shape, content
