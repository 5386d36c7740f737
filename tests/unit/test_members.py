"""Members: who runs what, who came first, who has gone or fallen silent."""

import asyncio

import msgspec
import pytest

from foldlog import Unavailable
from foldlog.errors import Corrupt
from foldlog.flow.members import MEMBERS, Members, Vitals, members
from foldlog.ports.store import Batch, Put, Range, RowKey
from tests.unit.bank import account


async def rows(store):
    return {row.key.key for row in (await store.scan(MEMBERS, Range())).rows}


def test_members_come_and_go(site, clock):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            store = app.system.store
            one, two, three = (Members(store, clock, name, "fg", 10) for name in ("x", "b", "a"))
            await one.beat()
            clock.advance(1)
            await two.beat()
            await three.beat()
            assert await one.of("f") == await three.of("f") == ["x", "a", "b"]  # the eldest first
            await two.drop("f", "a bug")
            assert (await one.of("f"), await one.of("g")) == (["x", "a"], ["x", "a", "b"])
            await three.leave()
            assert await one.of("g") == ["x", "b"]
            assert not two.due()
            clock.advance(5)
            assert two.due()
            await two.beat()
            clock.advance(6)
            assert await two.of("f") == ["b"]  # the first has been silent; who asks is always one
            await two.beat()
            assert await rows(store) == {"b"}
            await one.beat()
            assert await two.of("g") == ["x", "b"]  # it was only slow, and is still the eldest

    asyncio.run(main())


def test_a_clock_that_was_set_back_makes_nobody_live_for_ever(site, clock):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            one, two = (Members(app.system.store, clock, name, "f", 0.05) for name in ("one", "two"))
            await one.beat()
            clock.advance(-3_600)
            await two.beat()
            assert set(await two.of("f")) == {"one", "two"}
            await asyncio.sleep(0.06)  # the lease's time on the machine's own monotonic clock
            assert await two.of("f") == ["two"]

    asyncio.run(main())


def test_a_heartbeat_that_is_unavailable_is_tried_again_and_what_is_corrupt_is_told(site, clock):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            stop, raised = asyncio.Event(), [Unavailable("busy"), None, Corrupt("bad page")]

            def before(link, batch):
                if (error := raised.pop(0)) is not None:
                    raise error

            app.link.before = before
            one = Members(app.link, clock, "one", "f", 0.03)
            keeping = asyncio.create_task(one.keep(stop))
            await one.ready.wait()
            assert await one.of("f") == ["one"]
            clock.advance(1)
            await keeping
            with pytest.raises(Corrupt):
                await one.of("f")

    asyncio.run(main())


def test_a_heartbeat_tells_vitals_with_the_rate_since_the_last_one(site, clock, monkeypatch):
    now = {"f": Vitals(breaker=0), "g": Vitals(5, breaker=None)}

    async def main():
        loop = asyncio.get_running_loop()
        time = loop.time()
        async with site.app([account]).open(functions=False) as app:
            store = app.system.store
            one = Members(store, clock, "one", "fg", 3, now.__getitem__)
            monkeypatch.setattr(loop, "time", lambda: time)
            await one.beat()
            assert not one.due()

            async def told(function):
                return (await members(store, clock.now()))["one"].vitals_of(function)

            assert (await told("f"), await told("g"), await told("h")) == (Vitals(breaker=0), Vitals(5), None)
            now["f"] = Vitals(30, failed=2, retried=1, waiting=7, breaker=0)
            assert not one.due()
            time += 2
            await one.beat()
            assert await told("f") == Vitals(30, 15.0, 2, 1, 7, 0)
            now["f"] = Vitals(40, breaker=99)
            assert one.due()  # the breaker has opened: soon to be seen
            time += 0.01
            await one.beat()
            assert await told("f") == Vitals(40, 15.0, breaker=99)  # too short a time for another rate
            assert not one.due()
            time += 0.99
            await one.beat()
            assert (await told("f")).rate == 10.0
            await one.drop("f", "a bug")
            assert await told("f") is None
            assert await told("g") == Vitals(5)
            clock.advance(4)
            assert await members(store, clock.now()) == {}

    asyncio.run(main())


def test_heartbeats_of_code_that_knows_no_vitals_are_read_and_theirs_can_read_ours(site, clock):
    class Older(msgspec.Struct):
        since: int
        until: int
        functions: tuple[str, ...]

    async def main():
        async with site.app([account]).open(functions=False) as app:
            store, end = app.system.store, clock.now() + 10_000_000
            old = msgspec.json.encode(Older(clock.now() - 1, end, ("f",)))
            await store.commit(Batch(rows=[Put(MEMBERS, RowKey("", "old"), old)]))
            new = Members(store, clock, "new", "f", 10, lambda _: Vitals(3))
            await new.beat()
            assert await new.of("f") == ["old", "new"]
            assert {name: one.vitals_of("f") for name, one in (await members(store, clock.now())).items()} == {
                "old": Vitals(),
                "new": Vitals(3),
            }
            rows = (await store.scan(MEMBERS, Range())).rows
            assert [msgspec.json.decode(row.value, type=Older).functions for row in rows] == [("f",), ("f",)]

    asyncio.run(main())
