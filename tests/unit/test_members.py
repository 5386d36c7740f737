"""Members: who runs what, who came first, who has gone or fallen silent."""

import asyncio

import pytest

from foldlog import Unavailable
from foldlog.errors import Corrupt
from foldlog.flow.members import MEMBERS, Members
from foldlog.ports.store import Range
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
            await two.drop("f")
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
            members = Members(app.link, clock, "one", "f", 0.03)
            keeping = asyncio.create_task(members.keep(stop))
            await members.ready.wait()
            assert await members.of("f") == ["one"]
            clock.advance(1)
            await keeping
            with pytest.raises(Corrupt):
                await members.of("f")

    asyncio.run(main())
