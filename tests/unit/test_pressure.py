"""Hostile loads: what waits is bounded, and a handler that is slow, stuck or flooded delays only itself."""

import asyncio
import logging
import threading

import pytest

from foldlog import Backoff, DeadLetter, Recorded, handler, limits
from foldlog.flow import inbox
from foldlog.flow.lease import checkpoints
from foldlog.model.message import Draft
from foldlog.ports.store import Append, Batch
from tests.unit.bank import Deposited, account
from tests.unit.site import Site, until

MANY, PARKED = 8_000, 3_000


async def flood(app, count, keys):
    """Many events, spread over some keys, written behind the decider's back because that is quicker."""
    for start in range(0, count, 1_000):
        streams = {}
        for number in range(start, min(start + 1_000, count)):
            body = b'{"amount":%d}' % (number + 1)
            streams.setdefault(f"account-{number % keys}", []).append(Draft("account.deposited", 1, body))
        names = list(streams)
        for few in range(0, len(names), limits.BATCH_STREAMS):
            appends = [Append(name, streams[name]) for name in names[few : few + limits.BATCH_STREAMS]]
            await app.system.store.commit(Batch(appends))


class Fast:
    """A handler beside the one under load."""

    def __init__(self):
        self.seen = 0

        @handler("fast", page=1_000)
        async def fast(events: list[Recorded[Deposited]]) -> None:
            self.seen += len(events)

        self.handler = fast


def held(app, name):
    """How much of a handler is in memory: items in lanes, events."""
    lanes = app.runner(name)._work._lanes  # noqa: SLF001 - what no user should see is what is measured here
    return sum(map(len, lanes.queues.values())), len(lanes.window._events)  # noqa: SLF001 - as above


def pages(function, **options):
    @handler("stuck", **options)
    async def stuck(events: list[Recorded[Deposited]]) -> list[object]:
        answers = []
        for event in events:  # behind one that failed nothing is done, since nothing would be taken
            answers.append(None if any(answers) else function(event))
        return answers

    return stuck


def singles(function, **options):
    @handler("stuck", **options)
    async def stuck(event: Recorded[Deposited]) -> object:
        return function(event)

    return stuck


@pytest.mark.parametrize("kind", [singles, pages])
def test_a_flood_behind_a_dead_letter_is_bounded_and_then_flows_in_order(kind, clock, caplog, monkeypatch):
    monkeypatch.setattr(limits, "PARKED", PARKED)  # as many as it is would take a minute on a busy machine
    seen = []

    def work(event):
        if event.position == 1:
            return DeadLetter("poison")
        seen.append(event.position)
        return None

    stuck, fast = kind(work), Fast()

    async def main():
        app = Site(clock=clock).app([account, stuck, fast.handler])
        async with app:
            await flood(app, MANY, 1)
            await until(lambda: fast.seen == MANY)
            await until(lambda: "reads no further" in caplog.text)
            items, events = held(app, "handler.stuck")
            assert limits.PARKED <= items <= limits.PARKED + limits.WINDOW
            assert events <= limits.WINDOW
            rows = [item async for item in inbox.items(app.system.store, "handler.stuck")]
            assert limits.PARKED <= len(rows) <= limits.PARKED + limits.WINDOW
            assert seen == []
            assert await app.discard(stuck) == 1
            await until(lambda: len(seen) > 2 * limits.PARKED)  # all that waited, and as many that had to stay outside
            assert seen == list(range(2, len(seen) + 2))
            assert max(held(app, "handler.stuck")) <= limits.PARKED + limits.WINDOW
            held_at = await checkpoints(app.system.store, "handler.stuck")
            assert max(one.position for one in held_at.values()) > limits.PARKED
            assert caplog.text.count("reads no further") == 1

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())


@pytest.mark.parametrize("keys", [1, 6_000])
def test_a_handler_that_never_answers_is_bounded_and_delays_only_itself(keys, clock, monkeypatch):
    monkeypatch.setattr("foldlog.limits.STOP", 0.01)
    fast, begun = Fast(), []

    @handler("stuck", timeout=1_000)
    async def stuck(event: Deposited) -> None:
        begun.append(event)
        await asyncio.Event().wait()

    async def main():
        app = Site(clock=clock).app([account, stuck, fast.handler])
        async with app:
            await flood(app, MANY, keys)
            await until(lambda: fast.seen == MANY)
            items, events = held(app, "handler.stuck")
            assert items == events == limits.WINDOW
            assert len(begun) == min(keys, limits.CONCURRENCY)

    asyncio.run(main())


def test_a_slow_handler_delays_only_itself(site):
    fast, gate, slowly = Fast(), asyncio.Event(), []

    @handler("slow", concurrency=1)
    async def slow(event: Deposited) -> None:
        await gate.wait()
        slowly.append(event.amount)

    async def main():
        async with site.app([account, slow, fast.handler]) as app:
            await flood(app, 2_000, 10)
            await until(lambda: fast.seen == 2_000)
            await until(lambda: app.runner("handler.fast").settled(2_000))
            assert slowly == []
            gate.set()
            await app.settle()
            assert len(slowly) == 2_000

    asyncio.run(main())


def test_a_plain_function_that_hangs_keeps_neither_the_others_nor_the_end(site):
    fast, done, release = Fast(), [], threading.Event()

    @handler("hangs", timeout=0.5, retry=Backoff(1), concurrency=16)
    def hangs(event: Recorded[Deposited]) -> None:
        if event.position <= 20:
            release.wait()
            return
        done.append(event.position)

    async def main():
        async with site.app([account, hangs, fast.handler]) as app:
            await flood(app, 40, 40)
            await app.settle()
            assert fast.seen == 40
            assert sorted(done) == list(range(21, 41))
            assert len(await app.dead_letters(hangs)) == 20

    try:
        asyncio.run(main())
    finally:
        release.set()


def test_large_events_in_flight_are_bounded_by_their_bytes(clock, monkeypatch):
    monkeypatch.setattr("foldlog.limits.WINDOW_BYTES", 10_000)
    gate, begun = asyncio.Event(), []

    @handler("stuck", concurrency=100)
    async def stuck(event: Deposited) -> None:
        begun.append(event)
        await gate.wait()

    async def main():
        async with Site(clock=clock).app([account, stuck]) as app:
            bodies = [b'{"amount":1%s}' % (b" " * 980) for _ in range(50)]
            appends = [Append(f"account-{at}", [Draft("account.deposited", 1, one)]) for at, one in enumerate(bodies)]
            await app.system.store.commit(Batch(appends))
            await until(lambda: len(begun) >= 11)
            assert len(begun) == 11
            gate.set()
            await app.settle()
            assert len(begun) == 50

    asyncio.run(main())
