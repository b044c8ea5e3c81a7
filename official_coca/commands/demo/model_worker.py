"""One thread for all work of the model, shared fairly: a step of each job in turn."""

import asyncio
import contextlib
import queue
import threading

from official_coca.serving.request_error import RequestError


class ModelWorker:
    """Runs jobs, which are generators, in a thread of its own.

    A caption of many steps holds up no search: after each step the next job has its turn.

    Args:
        max_jobs: that wait or run at the same time; one more is refused.

    Example:

        worker = ModelWorker(max_jobs=16)
        embedding = await worker.result(embed(text) for text in ["a dog"])
        async with worker.stream(writer.write(image)) as captions:
            async for caption in captions:
                print(caption)
    """

    def __init__(self, max_jobs):
        self._max_jobs = max_jobs
        self._num_jobs = 0
        self._waiting = queue.SimpleQueue()
        # A model cannot be interrupted, and the end of the program must not wait for it.
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @contextlib.asynccontextmanager
    async def stream(self, steps):
        """Gives an asynchronous iterator over what a generator yields.

        At the end of the context the job ends too, done or not.

        Raises:
            RequestError: 503, too many jobs.
        """
        if self._num_jobs >= self._max_jobs:
            raise RequestError(
                503, f"{self._num_jobs} requests are waiting for the model", retry_after=1
            )
        job = _Job(steps)
        self._num_jobs += 1
        self._waiting.put(job)
        try:
            yield job.outcomes()
        finally:
            job.cancelled = True
            self._num_jobs -= 1

    async def result(self, steps):
        """Returns the last thing that a generator yields."""
        last = None
        async with self.stream(steps) as outcomes:
            async for last in outcomes:
                pass
        return last

    def close(self, seconds):
        """Ends the thread after the step it is at; gives up waiting for that after some seconds."""
        self._waiting.put(None)
        self._thread.join(seconds)

    def _run(self):
        while (job := self._waiting.get()) is not None:
            if not job.cancelled and job.step():
                self._waiting.put(job)


class _Job:
    """A generator that one thread runs, and whose results another one's event loop awaits."""

    def __init__(self, steps):
        self.cancelled = False
        self._steps = steps
        self._loop = asyncio.get_running_loop()
        self._outcomes = asyncio.Queue()

    def step(self):
        """Runs to the next yield; returns whether there is more."""
        try:
            self._tell(next(self._steps), None)
        except StopIteration:
            self._tell(None, StopAsyncIteration())
        except Exception as error:  # noqa: BLE001  Raised again where the result is awaited.
            self._tell(None, error)
        else:
            return True
        return False

    async def outcomes(self):
        while True:
            result, error = await self._outcomes.get()
            if isinstance(error, StopAsyncIteration):
                return
            if error is not None:
                raise error
            yield result

    def _tell(self, result, error):
        with contextlib.suppress(RuntimeError):  # the loop has ended, nobody waits any more
            self._loop.call_soon_threadsafe(self._outcomes.put_nowait, (result, error))
