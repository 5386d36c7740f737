"""Processes that share one file's functions: they join, leave, die and hang, and nothing is lost, stale or repeated."""

import asyncio
import signal
from collections import Counter

import pytest

from tests.reliability.counter import Count, Heard, counter, sums
from tests.reliability.functions import out_of_order
from tests.reliability.processes import Place
from tests.reliability.shared import Workers, make, until

FUNCTIONS = "handler.effects", "view.sums.1"


@pytest.fixture
def workers(tmp_path):
    workers = Workers(Place(tmp_path), "effects")
    yield workers
    workers.end_all()


async def shares(app, **held):
    for function in FUNCTIONS:
        await until(app, function, lambda now: now == Counter(held["by"]))


async def send(app, numbers):
    for number in numbers:
        receipt = await app.send(counter, str(number % 20), Count(number))
    return receipt


async def finished(workers):
    """What came of it all: how many events, and the effects outside."""
    async with make(workers.url, workers.what, workers.world) as app:
        await app.settle(timeout=60)
        ids, totals, heard = [], Counter(), Counter()
        async for event in app.read():
            if isinstance(event.data, Heard):
                heard[event.data.of] += 1
            else:
                ids.append(event.id)
                totals[event.key] += event.data.number
        assert heard == Counter(ids)  # every answer was sent once
        assert {key: await app.get(sums, key) for key in totals} == totals
        assert not await app.dead_letters()
    assert not workers.stale()
    lines = workers.lines()
    assert not out_of_order(lines)
    assert {line[0] for line in lines} == set(ids)
    return ids, lines


def test_they_join_and_leave_and_no_effect_is_repeated(tmp_path):
    workers = Workers(Place(tmp_path), "patient")

    async def main():
        one = workers.start()
        async with make(workers.url, workers.what, workers.world).open(functions=False) as app:
            await shares(app, by={one: 16})
            sending = asyncio.create_task(send(app, range(1, 400)))
            two = workers.start()
            await shares(app, by={one: 8, two: 8})
            three = workers.start()
            await shares(app, by={one: 6, two: 5, three: 5})
            await asyncio.to_thread(workers.end, two)
            await shares(app, by={one: 8, three: 8})
            await asyncio.to_thread(workers.end, one)
            await shares(app, by={three: 16})
            receipt = await sending
            assert await app.get(sums, receipt.stream.partition("-")[2], after=receipt) >= 399
        workers.end_all()
        ids, lines = await finished(workers)
        assert len(lines) == len(ids) == 399

    try:
        asyncio.run(main())
    finally:
        workers.end_all()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_partitions_of_one_that_dies_or_hangs_are_taken_over(workers, number):
    async def main():
        one, two = workers.start(), workers.start()
        async with make(workers.url, workers.what, workers.world).open(functions=False) as app:
            await shares(app, by={one: 8, two: 8})
            sending = asyncio.create_task(send(app, range(1, 300)))
            await until(app, FUNCTIONS[0], lambda _: len(workers.lines()) > 20)
            if number == signal.SIGKILL:
                await asyncio.to_thread(workers.end, one, number)
                await shares(app, by={two: 16})
            else:
                await workers.hang(one)
                await shares(app, by={two: 16})
                await sending
                workers.running[one].send_signal(signal.SIGCONT)  # its late writes are refused; then it has its share
                await shares(app, by={one: 8, two: 8})
            await sending
        workers.end_all()
        await finished(workers)

    asyncio.run(main())
