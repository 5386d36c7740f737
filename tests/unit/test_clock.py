import asyncio
import os
import time
from datetime import UTC, datetime

import pytest

from foldlog.model.clock import SystemClock, TimeOrderedIds
from foldlog.model.message import to_datetime
from foldlog.testing import FakeClock, SequentialIds


def test_the_system_clock_is_the_machines():
    before = time.time_ns() // 1000
    clock = SystemClock()
    asyncio.run(clock.sleep(0))
    assert before <= clock.now() <= time.time_ns() // 1000


def test_time_ordered_ids_rise_and_never_repeat():
    make = TimeOrderedIds()
    ids = [make() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert {len(one) for one in ids} == {32}
    assert TimeOrderedIds()()[20:] != ids[0][20:]


def test_a_forked_process_draws_its_own_randomness(monkeypatch):
    make = TimeOrderedIds()
    mine = make()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert make()[20:] != mine[20:]


def test_ids_rise_even_when_the_machines_clock_goes_back(monkeypatch):
    make = TimeOrderedIds()
    first = make()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert make() > first


def test_sequential_ids_count():
    ids = SequentialIds()
    assert [ids(), ids()] == ["id-000001", "id-000002"]


def test_the_fake_clock_stands_still_until_it_is_moved():
    clock = FakeClock()
    assert to_datetime(clock.now()) == to_datetime(clock.now()) == datetime(2026, 1, 1, tzinfo=UTC)
    clock.advance(1.5)
    assert clock.now() == FakeClock().now() + 1_500_000
    assert FakeClock(datetime(1970, 1, 1, tzinfo=UTC)).now() == 0


def test_sleepers_wake_in_order_of_time_each_at_its_own():
    clock = FakeClock(datetime(1970, 1, 1, tzinfo=UTC))
    woken: list[tuple[str, float]] = []

    async def sleeper(name, *naps):
        for nap in naps:
            await clock.sleep(nap)
            woken.append((name, clock.now() / 1e6))

    async def all_of_them():
        await asyncio.gather(sleeper("a", 10, 1), sleeper("b", 3, 3, 3), sleeper("c", 0), sleeper("d", 3))

    asyncio.run(all_of_them())
    assert woken == [("c", 0), ("b", 3), ("d", 3), ("b", 6), ("b", 9), ("a", 10), ("a", 11)]


def test_a_sleeper_that_gave_up_moves_no_time():
    clock = FakeClock(datetime(1970, 1, 1, tzinfo=UTC))

    async def give_up():
        long = asyncio.create_task(clock.sleep(1000))
        also = asyncio.create_task(clock.sleep(2000))
        await asyncio.sleep(0)
        long.cancel()
        await clock.sleep(5)
        also.cancel()
        with pytest.raises(asyncio.CancelledError):
            await also
        for _ in range(50):
            await asyncio.sleep(0)

    asyncio.run(give_up())
    assert clock.now() == 5_000_000


def test_time_that_was_moved_by_hand_wakes_who_waited_for_less():
    clock = FakeClock(datetime(1970, 1, 1, tzinfo=UTC))

    async def wait():
        task = asyncio.create_task(clock.sleep(5))
        await asyncio.sleep(0)
        clock.advance(60)
        await task

    asyncio.run(wait())
    assert clock.now() == 60_000_000
