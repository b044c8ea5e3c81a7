"""The thread of the model: fair, bounded, and rid of work that nobody waits for."""

import asyncio
import threading

import pytest

from official_coca.commands.demo.model_worker import ModelWorker
from official_coca.serving.request_error import RequestError


def run(use, max_jobs=4):
    async def main():
        worker = ModelWorker(max_jobs)
        try:
            await use(worker)
        finally:
            worker.close(5)

    asyncio.run(main())


def test_jobs_take_turns():
    order, may_run = [], threading.Event()

    def steps(name, count):
        for number in range(count):
            assert may_run.wait(5)
            order.append(name)
            yield number

    async def use(worker):
        long = asyncio.ensure_future(worker.result(steps("long", 5)))
        short = asyncio.ensure_future(worker.result(steps("short", 2)))
        await asyncio.sleep(0.05)
        may_run.set()
        assert await asyncio.gather(long, short) == [4, 1]

    run(use)
    assert order == ["long", "short", "long", "short", "long", "long", "long"]


def test_failure_is_raised_to_who_waits_and_the_next_job_runs():
    def fails():
        yield 1
        raise ZeroDivisionError

    async def use(worker):
        with pytest.raises(ZeroDivisionError):
            await worker.result(fails())
        assert await worker.result(iter([1, 2])) == 2

    run(use)


def test_one_job_too_many_is_refused_until_another_ends():
    may_run = threading.Event()

    def waits():
        assert may_run.wait(5)
        yield 7

    async def use(worker):
        jobs = [asyncio.ensure_future(worker.result(waits())) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RequestError) as caught:
            await worker.result(waits())
        assert caught.value.status == 503 and caught.value.retry_after
        may_run.set()
        assert await asyncio.gather(*jobs) == [7, 7]
        assert await worker.result(waits()) == 7

    run(use, max_jobs=2)


def test_job_that_nobody_waits_for_ends():
    made = []

    def endless():
        while True:
            made.append(1)
            yield len(made)

    async def use(worker):
        async with worker.stream(endless()) as outcomes:
            async for number in outcomes:
                if number >= 3:
                    break
        await worker.result(iter([0]))
        count = len(made)
        await asyncio.sleep(0.05)
        assert len(made) == count

    run(use)
