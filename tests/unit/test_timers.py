"""Timers in numbers, and with several processes: what is not due costs nothing, what is due rings once."""

import asyncio
from collections import Counter

import msgspec

from foldlog import Send
from foldlog.flow.timers import TIMERS, Alarm
from foldlog.ports.store import Batch, Range
from foldlog.process import Process, Timer
from tests.unit.site import kill, until
from tests.unit.transfers import Move, Overdue, Request, Requested, account, requests

COUNT = 20_000


def fold(state: int, event: Requested | Overdue) -> int:
    return state + 1


def tell(event: Requested | Overdue, state: int) -> list[Send | Timer]:
    if isinstance(event, Overdue):
        return [Send(account, event.target, Move(1))]
    return [Timer("late", Overdue(event.target), after=60)]


PARTS = [requests, account, Process("waiting", tell, fold, initial=0)]


def alarm(number, due):
    body = msgspec.Raw(b'{"target":"far"}')
    return Alarm(
        "process.waiting", number % 16, f"id{number}", "late", due, f"waiting-far{number}", "transfer.overdue", 1, body
    )


def test_pending_timers_cost_nothing_to_what_is_not_due(site, clock):
    async def main():
        async with site.app(PARTS).open(functions=False) as app:
            for first in range(0, COUNT, 5_000):
                far = [alarm(first + number, clock.now() + 10**15) for number in range(5_000)]
                await app.system.store.commit(Batch(rows=[one.put() for one in far]))
        app = site.app(PARTS)
        scanned = Counter()
        scan = app.link.inner.scan

        async def counted(table, span):
            rows = await scan(table, span)
            scanned[table.name] += len(rows.rows)
            return rows

        app.link.inner.scan = counted
        await app.start()
        await app.settle()
        assert scanned["timers"] == 16  # the next of each partition
        await app.send(requests, "1", Request("a", "b", 7))
        await app.settle()
        clock.advance(61)
        await app.settle()
        assert await app.get(account, "b") == 1
        assert scanned["timers"] <= 16 + 4
        await app.stop()

    asyncio.run(main())


def test_many_timers_due_at_once_ring_once_each(site, clock):
    async def main():
        async with site.app(PARTS) as app:
            await asyncio.gather(*[app.send(requests, str(n), Request("a", f"t{n}", 7)) for n in range(700)])
            await app.settle()
            clock.advance(61)
            await app.settle()
            rang = Counter([one.key async for one in app.read() if one.type == "transfer.overdue"])
            assert rang == Counter(str(number) for number in range(700))
            assert (await app.system.store.scan(TIMERS, Range())).rows == []
            assert await app.get(account, "t699") == 1

    asyncio.run(main())


def test_timers_go_over_to_those_who_take_the_partitions(site, clock):
    async def main():
        one, two = site.app(PARTS), site.app(PARTS)
        await one.start()
        await asyncio.gather(*[one.send(requests, str(n), Request("a", f"t{n}", 7)) for n in range(60)])
        await one.settle()
        await two.start()
        await until(lambda: len(two.runner("process.waiting").held) == 8)
        clock.advance(61)
        await two.settle()
        await one.settle()
        await asyncio.gather(*[two.send(requests, f"m{n}", Request("a", f"m{n}", 7)) for n in range(60)])
        await two.settle()
        await one.stop()
        await until(lambda: len(two.runner("process.waiting").held) == 16)
        clock.advance(61)
        await two.settle()
        rang = Counter([event.key async for event in two.read() if event.type == "transfer.overdue"])
        assert len(rang) == 120
        assert set(rang.values()) == {1}
        await two.stop()

    asyncio.run(main())


def test_what_a_killed_owner_has_not_rung_rings_once(site, clock):
    async def main():
        first = site.app(PARTS)
        await first.start()
        await first.send(requests, "1", Request("a", "b", 7))
        await first.settle()
        await kill(first)
        clock.advance(120)
        async with site.app(PARTS) as second:
            await second.settle()
            assert [one.type async for one in second.read("waiting-1")] == ["transfer.overdue"]
            assert await second.get(account, "b") == 1

    asyncio.run(main())
