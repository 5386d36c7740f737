"""The simulation's event loop: virtual time, lanes that stand still or end, order from the seed."""

import asyncio
from contextvars import copy_context
from random import Random

import pytest

from foldlog import limits
from foldlog.testing.simulation.loop import LANE, Lane, Stuck, VirtualLoop


@pytest.fixture
def loop():
    return VirtualLoop(Random(1))


def in_lane(loop, lane, work):
    context = copy_context()
    context.run(LANE.set, lane)
    return loop.create_task(work, context=context)


def test_time_jumps_to_the_next_timer(loop):
    async def main():
        await asyncio.sleep(3_600)
        async with asyncio.timeout(10):
            await asyncio.sleep(5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.sleep(2)
        return loop.time()

    assert loop.run_until_complete(main()) == 3_606


def test_timers_of_one_moment_ring_in_the_order_of_the_seed():
    def order(seed):
        rung = []
        loop = VirtualLoop(Random(seed))

        async def ring(number):
            await asyncio.sleep(1)
            rung.append(number)

        async def main():
            await asyncio.gather(*(ring(number) for number in range(6)))

        loop.run_until_complete(main())
        return rung

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(10)}) > 5


def test_inside_a_lane_callbacks_keep_their_order_and_lanes_mix(loop):
    said = []

    async def speak(name):
        for number in range(20):
            said.append((name, number))
            await asyncio.sleep(0)

    async def main():
        tasks = [in_lane(loop, Lane(name), speak(name)) for name in "ab"]
        await asyncio.wait(tasks)

    loop.run_until_complete(main())
    for name in "ab":
        assert [number for one, number in said if one == name] == list(range(20))
    assert [name for name, _ in said] != ["a", "b"] * 20
    assert [name for name, _ in said][:20] != ["a"] * 20


def test_a_paused_lane_hears_its_timers_late(loop):
    heard = []
    lane = Lane("slow")

    async def sleeper():
        await asyncio.sleep(1)
        heard.append(loop.time())

    async def main():
        task = in_lane(loop, lane, sleeper())
        await asyncio.sleep(0)
        loop.pause(lane, 5)
        await asyncio.wait([task])

    loop.run_until_complete(main())
    assert heard == [5.0]


def test_an_ended_lane_runs_nothing_more_until_the_loop_is_closed(loop):
    seen = []
    lane = Lane("killed")

    async def worker():
        try:
            await asyncio.sleep(1)
            seen.append("worked")
        finally:
            seen.append("cleaned up")
            await asyncio.sleep(1)  # a `finally` that awaits, when nobody is there to wake it

    async def main():
        in_lane(loop, lane, worker())
        await asyncio.sleep(0.5)
        loop.end(lane)
        await asyncio.sleep(10)
        return list(seen)

    assert loop.run_until_complete(main()) == []
    assert seen == ["cleaned up"]


def test_what_waits_for_ever_is_stuck(loop):
    async def main():
        await loop.create_future()

    with pytest.raises(Stuck, match="nothing is left to run"):
        loop.run_until_complete(main())


def test_what_runs_in_circles_is_stuck(loop, monkeypatch):
    monkeypatch.setattr(limits, "SIMULATION_TURNS", 1_000)

    async def main():
        while True:  # noqa: ASYNC110 - that is what must not go on for ever
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match="still busy"):
        loop.run_until_complete(main())


def test_there_are_no_threads_and_no_second_loop(loop):
    async def main():
        with pytest.raises(RuntimeError, match="plain def"):
            VirtualLoop(Random(1)).run_until_complete(asyncio.sleep(0))
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        return await asyncio.to_thread(lambda: "here")

    assert loop.run_until_complete(main()) == "here"


def test_async_generators_that_are_left_are_closed(loop):
    seen = []

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            seen.append("closed")

    async def main():
        async for _ in numbers():
            break
        await asyncio.sleep(1)
        return list(seen)

    assert loop.run_until_complete(main()) == ["closed"]
