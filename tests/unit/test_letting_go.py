"""Partitions that are let go, or a run that ends, while calls, pages and probes are under way: the others go on."""

import asyncio

import pytest

from foldlog import Backoff, Breaker, Context, DeadLetter, Recorded, handler, limits
from foldlog.flow.breaker import Circuit
from foldlog.flow.deliver import Deliver
from foldlog.flow.lanes import Lanes
from foldlog.flow.lease import Lease
from foldlog.flow.partition import partition_of
from foldlog.flow.subscribe import Progress, follow
from tests.unit.bank import Deposit, Deposited, Open, Opened, account
from tests.unit.site import turns, until


class Run:
    """One owner's run of the only handler of an app, some of whose partitions a test takes and lets go."""

    def __init__(self, app, breaker=None):
        system, (effect,) = app.system, app.system.functions()
        self.lease = Lease(system.store, system.clock, effect.name, "me")
        circuit = Circuit(breaker, system.clock)
        self.lanes = Lanes(system.store, effect, system.execute, system.clock, self.lease, Progress(), circuit)
        self.work, self.stop = Deliver(self.lanes), asyncio.Event()
        self._feed = lambda after, stop: follow(system.store, effect.query, after, stop, 0.01)

    async def begin(self, partitions):
        await self.take(partitions)
        self.task = asyncio.create_task(self.work.run(self._feed, self.stop))

    async def take(self, partitions):
        await self.lease.look()
        assert await self.lease.take(partitions, 0)

    async def leave(self, partitions):
        await self.lease.release(await self.work.leave(partitions))

    async def end(self):
        self.stop.set()
        await self.task


async def opened(app, keys):
    for key in keys:
        await app.send(account, key, Open("x"))


def of_partition(number, count):
    """Keys of one partition."""
    found = (f"{one:03}" for one in range(1000) if partition_of("", f"{one:03}") == number)
    return [next(found) for _ in range(count)]


def test_a_lane_that_waits_for_its_turn_when_it_is_let_go_comes_into_no_page(site, monkeypatch):
    monkeypatch.setattr(limits, "STOP", 0)
    pages, gate = [], asyncio.Event()

    @handler("index", concurrency=1)
    async def index(events: list[Recorded[Opened | Deposited]]) -> None:
        pages.append([event.key for event in events])
        await gate.wait()

    async def main():
        (stays,), (goes,) = of_partition(0, 1), of_partition(1, 1)
        async with site.app([account, index]).open(functions=False) as app:
            await opened(app, [stays])
            run = Run(app)
            await run.begin([0, 1])
            await until(lambda: pages)
            await opened(app, [goes])
            await until(lambda: ("", goes) in run.lanes.active)
            await turns()
            await run.leave([1])
            await app.send(account, stays, Deposit(1))
            gate.set()
            await until(lambda: run.work.settled(3))
            assert pages == [[stays], [stays]]
            await run.end()

    asyncio.run(main())


@pytest.mark.parametrize("first", ["stays", "goes"])
def test_a_page_of_lanes_that_go_and_lanes_that_stay_is_ended_and_those_go_on(first, site, monkeypatch):
    monkeypatch.setattr(limits, "STOP", 0)
    pages, running = [], []

    @handler("index", concurrency=1)
    async def index(events: list[Recorded[Opened]]) -> None:
        pages.append(sorted(event.key for event in events))
        if len(pages) == 1:
            running.append(1)
            try:
                await asyncio.Event().wait()
            finally:
                running.pop()

    async def main():
        (stays,), (goes,), others = of_partition(0, 1), of_partition(1, 1), of_partition(0, 4)[1:]
        async with site.app([account, index]).open(functions=False) as app:
            await opened(app, [stays, goes, *others] if first == "stays" else [goes, stays, *others])
            run = Run(app)
            await run.begin([0, 1])
            await until(lambda: pages)
            await turns()
            await run.leave([1])
            assert not running  # nothing of theirs runs on when their next owner begins
            await until(lambda: run.work.settled(5))
            assert pages[0] == sorted([stays, goes, *others])
            assert sorted(key for page in pages[1:] for key in page) == sorted([stays, *others])
            await run.end()

    asyncio.run(main())


@pytest.mark.parametrize("patience", [0, 30])
def test_where_a_probe_is_let_go_another_lane_probes(patience, site, clock, monkeypatch):
    monkeypatch.setattr(limits, "STOP", patience)
    calls, down, probing, gate = [], True, asyncio.Event(), asyncio.Event()

    @handler("mail", retry=Backoff(9, 1, 1), concurrency=1)
    async def mail(event: Opened, ctx: Context) -> None:
        calls.append(ctx.recorded.key)
        if len(calls) == 3:
            probing.set()
            await gate.wait()
        if down:
            raise ConnectionError("nobody answers")

    async def main():
        nonlocal down
        (goes,), stay = of_partition(1, 1), of_partition(0, 2)
        async with site.app([account, mail]).open(functions=False) as app:
            await opened(app, [*stay, goes])
            run = Run(app, Breaker(keys=2, rate=1, pause=5, ceiling=15, probes=1))
            await run.begin([0, 1])
            await probing.wait()
            assert calls[2] == goes
            await turns()
            leaving = asyncio.create_task(run.leave([1]))
            await turns()
            if patience:
                gate.set()
            await leaving
            down = False
            await until(lambda: run.work.settled(3))
            assert set(calls[3:]) == set(stay)
            await run.end()

    asyncio.run(main())


def test_what_comes_while_its_key_is_let_go_stays_behind_what_came_before(site, clock):
    calls, gates = [], {"failing": asyncio.Event(), "slow": asyncio.Event()}

    @handler("see", retry=Backoff(5, 1, 1))
    async def see(event: Opened | Deposited, ctx: Context) -> None:
        calls.append((ctx.recorded.key, ctx.recorded.version))
        if ctx.recorded.key == slow:
            await gates["slow"].wait()
        elif len(calls) < 3:
            await gates["failing"].wait()
            raise ValueError("once")

    key, slow = of_partition(0, 2)

    async def main():
        async with site.app([account, see]).open(functions=False) as app:
            run, after = Run(app), Run(app)
            await run.begin([0, 1])
            await opened(app, [key, slow])
            await until(lambda: len(calls) == 2)
            await app.send(account, key, Deposit(1))
            await until(lambda: len(run.lanes.queues["", key]) == 2)
            leaving = asyncio.create_task(run.leave([0]))
            await turns()
            gates["failing"].set()
            await until(lambda: ("", key) not in run.lanes.active)
            await app.send(account, key, Deposit(2))
            await until(lambda: len(run.lanes.queues["", key]) == 3)
            gates["slow"].set()
            await leaving
            clock.advance(2)
            await after.begin([0])
            await until(lambda: after.work.settled(4))
            assert [version for one, version in calls if one == key] == [1, 1, 2, 3]
            await after.end()
            await run.end()

    asyncio.run(main())


def test_what_a_page_came_to_is_stored_though_its_lane_is_cancelled_at_that_moment(site):
    calls = []

    @handler("index")
    async def index(events: list[Recorded[Opened]]) -> list[DeadLetter]:
        calls.append(len(events))
        asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)  # as when its partition is let go
        return [DeadLetter("no") for _ in events]

    async def main():
        async with site.app([account, index]).open(functions=False) as app:
            await opened(app, of_partition(0, 3))
            run = Run(app)
            await run.begin([0])
            await until(lambda: calls and not run.lanes.active)
            await until(lambda: run.work.settled(3))
            assert len(await app.dead_letters(index)) == 3
            await run.end()

    asyncio.run(main())
