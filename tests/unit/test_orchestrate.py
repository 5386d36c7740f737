"""Processes: folded once, answered once, in order, whatever fails on the way."""

import asyncio

import pytest

from foldlog import Query, Recorded, Send
from foldlog.errors import Misconfigured
from foldlog.flow.orchestrate import decode as decode_instance
from foldlog.flow.timers import TIMERS, decode
from foldlog.ports.store import Range, RowKey
from foldlog.process import Accepted, Cancel, Process, Timer
from tests.unit.site import Site, another, crash_at, kill, settled_or_dead, until
from tests.unit.transfers import Move, Moved, Overdue, Request, Requested, account, requests, transfer

PARTS = [requests, account, transfer]


async def log_of(app, *types):
    return [(one.stream, one.type, one.data) async for one in app.read(Query(types=types))]


async def instance(app, key, part=transfer):
    orchestration = app.system.processes[part.name]
    rows = await app.system.store.get(orchestration.table, [RowKey("", key)])
    return rows.get(RowKey("", key))


async def timers(app):
    rows = (await app.system.store.scan(TIMERS, Range())).rows
    return [(one.name, one.due) for one in map(decode, rows)]


def test_a_transfer_goes_through_and_ends(site):
    async def main():
        async with site.app(PARTS) as app:
            await app.send(account, "a", Move(10))
            await app.send(requests, "1", Request("a", "b", 7))
            await app.settle()
            assert (await app.get(account, "a"), await app.get(account, "b")) == (3, 7)
            assert await instance(app, "1") is None
            assert not await timers(app)
            accepted = [data.command async for one in app.read("transfer-1") if (data := one.data)]
            assert accepted == [Move(-7), Move(7)]

    asyncio.run(main())


def test_a_refused_command_comes_back_as_a_value(site):
    async def main():
        async with site.app(PARTS) as app:
            await app.send(account, "a", Move(5))
            await app.send(requests, "1", Request("a", "b", 7))
            await app.settle()
            assert (await app.get(account, "a"), await app.get(account, "b")) == (5, 0)
            ((_, _, rejected),) = await log_of(app, "foldlog.rejected")
            assert (rejected.code, rejected.data, rejected.command) == ("account.too-poor", {"balance": 5}, Move(-7))
            assert (rejected.decider, rejected.key) == ("account", "a")
            assert await instance(app, "1") is None
            assert await app.dead_letters() == []

    asyncio.run(main())


def test_a_timer_rings_when_its_time_has_come_and_not_before(site, clock):
    async def main():
        async with site.app([requests, account, waiting()]) as app:
            await app.send(requests, "1", Request("a", "b", 7))
            await app.settle()
            ((name, due),) = await timers(app)
            (event,) = [one async for one in app.read("request-1")]
            assert (name, due) == ("late", event.time + 60_000_000)
            clock.advance(59)
            await app.settle()
            assert await app.get(account, "b") == 0
        clock.advance(2)
        async with site.app([requests, account, waiting()]) as app:  # what was due while nobody ran rings now, once
            await app.settle()
            assert await app.get(account, "b") == 1
            (rang,) = [one async for one in app.read("waiting-1")]
            assert (rang.type, rang.data) == ("transfer.overdue", Overdue("b"))
            assert rang.meta.causation == event.id
            assert await timers(app) == []

    asyncio.run(main())


def waiting(**options):
    """Waits for a minute, then moves something; what is moved to `x` cancels, what is moved to `y` moves the timer."""

    def fold(state: str | None, event: Requested | Overdue | Moved) -> str | None:
        return None if isinstance(event, Overdue) else "waits"

    def tell(event: Requested | Overdue | Moved, state: str | None) -> list[Send | Timer | Cancel]:
        match event:
            case Requested(_, target, _):
                return [Timer("late", Overdue(target), after=60)]
            case Moved(0):
                return [Cancel("late"), Cancel("never set")]
            case Moved(1000):
                return [Timer("late", Overdue("z"), after=60)]
            case Overdue(target):
                return [Send(account, target, Move(1))]
        return []

    def key(event: Requested | Moved) -> str | None:
        return "1" if isinstance(event, Requested) or event.amount in (0, 1000) else None

    return Process("waiting", tell, fold, initial=None, key=key, **options)


def test_a_timer_is_cancelled_and_moved_by_its_name(site, clock):
    async def main():
        async with site.app([requests, account, waiting()]) as app:
            await app.send(requests, "1", Request("a", "b", 7))
            await app.settle()
            clock.advance(30)
            await app.send(account, "m", Move(1000))
            await app.settle()
            assert len(await timers(app)) == 1
            clock.advance(31)
            await app.settle()
            assert await app.get(account, "z") == 0
            clock.advance(30)
            await app.settle()
            assert (await app.get(account, "b"), await app.get(account, "z")) == (0, 1)
            await app.send(requests, "2", Request("a", "c", 7))
            await app.send(account, "m", Move(0))
            await app.settle()
            assert await timers(app) == []
            clock.advance(100)
            await app.settle()
            assert await app.get(account, "c") == 0

    asyncio.run(main())


def test_a_timer_that_rings_while_it_is_cancelled_is_passed_over(site, clock):
    """The alarm comes into the log, then the event that cancels it is handled, then the alarm."""
    gate = asyncio.Event()

    async def main():
        async with site.app([requests, account, waiting()]) as app:
            await app.send(requests, "1", Request("a", "b", 7))
            await app.settle()
        async with site.app([requests, account, waiting()]) as app:
            await until(lambda: app.runner("process.waiting").held)
            step = app.system.processes["waiting"].attempt

            async def late(call):
                await gate.wait()
                return await step(call)

            app.system.processes["waiting"].attempt = late
            await app.send(account, "m", Move(0))
            head = await app.system.store.head()
            clock.advance(100)
            await app.system.store.wait(head, 60)
            gate.set()
            await app.settle()
            assert await app.get(account, "b") == 0
            assert len([one async for one in app.read("waiting-1")]) == 1
            assert app.system.processes["waiting"].read(decode_instance(await instance(app, "1", waiting()))) == "waits"

    asyncio.run(main())


def test_an_event_for_several_instances_comes_to_each_once(site):
    def fold(state: int, event: Requested) -> int:
        return state + 1

    def tell(event: Requested, state: int) -> Send:
        return Send(account, f"n{state}", Move(1))

    def keys(event: Requested) -> list[str]:
        return [event.source, event.target]

    both = Process("both", tell, fold, initial=0, key=keys)

    async def main():
        async with site.app([requests, account, both]) as app:
            for number in range(20):
                await app.send(requests, str(number), Request(f"s{number % 4}", f"t{number % 5}", 7))
            await app.settle()
            read = app.system.processes["both"].read
            counted = {key: read(decode_instance(await instance(app, key, both))) for key in ("s0", "s3", "t0", "t4")}
            assert counted == {"s0": 5, "s3": 5, "t0": 4, "t4": 4}
            assert [await app.get(account, f"n{at}") for at in range(1, 6)] == [9, 9, 9, 9, 4]
        async with site.app([requests, account, both]) as app:
            await app.settle()
            assert await app.get(account, "n1") == 9

    asyncio.run(main())


def test_a_fold_that_fails_parks_its_key_until_an_operator_has_decided(site):
    broken = {"1"}

    def fold(state: int, event: Recorded[Requested | Moved]) -> int:
        if event.key in broken and isinstance(event.data, Requested):
            raise ValueError("broken")
        return state + 1

    def tell(event: Recorded[Moved], state: int) -> list[Send]:
        return []

    def key(event: Recorded[Requested | Moved]) -> str:
        return event.key

    part = Process("part", tell, fold, initial=0, key=key)

    async def main():
        async with site.app([requests, account, part]) as app:
            await app.send(requests, "1", Request("a", "b", 7))
            await app.send(account, "1", Move(1))
            await app.send(account, "2", Move(1))
            await app.settle()
            read = app.system.processes["part"].read
            (letter,) = await app.dead_letters(part)
            assert (letter.function, letter.key, letter.attempts) == ("process.part", "1", 1)
            assert "broken" in letter.error
            assert await instance(app, "1", part) is None
            assert read(decode_instance(await instance(app, "2", part))) == 1
            broken.clear()
            assert await app.replay(part) == 1
            await app.settle()
            assert read(decode_instance(await instance(app, "1", part))) == 2
            broken.add("3")
            await app.send(requests, "3", Request("a", "b", 7))
            await app.send(account, "3", Move(1))
            await app.settle()
            assert await app.discard(part) == 1
            await app.settle()
            assert read(decode_instance(await instance(app, "3", part))) == 1
            assert await app.dead_letters() == []

    asyncio.run(main())


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("command", [Move(10), Move(5)])
def test_a_crash_at_any_commit_changes_nothing(url, clock, stored, command):
    """Accepted or refused: after a crash at every commit the money is where it belongs, each step was taken once."""

    async def attempt(number):
        site = Site(another(url, number), clock)
        async with site.app(PARTS).open(functions=False) as app:
            await app.send(account, "a", command)
            await app.send(requests, "1", Request("a", "b", 7))
        app = site.app(PARTS)
        vars(app.link).update(crash_at(number, stored=stored))
        crashed = await settled_or_dead(app)
        await kill(app)
        clock.advance(20)  # the dead owner's lease is over
        async with site.app(PARTS) as app:
            await app.settle()
            found = [await app.get(account, one) for one in "ab"]
            assert found == ([3, 7] if command.amount == 10 else [5, 0])
            assert await instance(app, "1") is None
            assert await timers(app) == []
            answers = [one.type async for one in app.read("transfer-1")]
            assert answers == (["foldlog.accepted"] * 2 if command.amount == 10 else ["foldlog.rejected"])
        return crashed

    async def main():
        number = 1
        while await attempt(number):
            number += 1
        assert number > 4

    asyncio.run(main())


def test_a_command_that_comes_to_nothing_was_accepted_too(site):
    def fold(state: int, event: Moved | Accepted) -> int:
        return state + isinstance(event, Accepted)

    def tell(event: Moved, state: int) -> Send:
        return Send(requests, "1", Request("a", "b", 7))  # the second time there is nothing to do

    asking = Process("asking", tell, fold, initial=0)

    async def main():
        async with site.app([requests, account, asking]) as app:
            await app.send(account, "a", Move(1))
            await app.send(account, "a", Move(1))
            await app.settle()
            assert len(await log_of(app, "foldlog.accepted")) == 2
            assert len(await log_of(app, "transfer.requested")) == 1
            read = app.system.processes["asking"].read
            assert read(decode_instance(await instance(app, "a", asking))) == 2

    asyncio.run(main())


def test_what_a_process_must_not_answer_is_a_dead_letter(site):
    wrong = {
        "a": lambda: "no answer",
        "b": lambda: Timer("late", Moved(1), after=5),
        "c": lambda: [Cancel("x"), Timer("x", Overdue("b"), after=5)],
        "d": lambda: [Send(account, "x", Move(1))] * 101,
        "e": lambda: Send(account, "x", Moved(1)),
        "f": lambda: [Timer(f"t{number}", Overdue("b"), after=5) for number in range(100)],
        "g": lambda: Send(account, "", Move(1)),
    }

    def fold(state: int | None, event: Recorded[Requested | Overdue]) -> int | None:
        return None if event.key == "h" else 1

    def tell(event: Recorded[Requested | Overdue], state: int | None):
        if event.key == "h":
            return Timer("late", Overdue("b"), after=5)
        return wrong[event.key]()

    odd = Process("odd", tell, fold, initial=None)

    async def main():
        async with site.app([requests, account, odd]) as app:
            for key in [*wrong, "h"]:
                await app.send(requests, key, Request("a", "b", 7))
            await app.settle()
            told = {one.key: one.error.strip().splitlines()[-1] for one in await app.dead_letters(odd)}
            assert "answered str: return a list of Send, Timer and Cancel" in told["a"]
            assert "carries 'account.moved', which it does not take back" in told["b"]
            assert "names a timer twice" in told["c"]
            assert "answered 101 commands and timers" in told["d"]
            assert "which is an event: send a command" in told["e"]
            assert "f" not in told
            assert "stream key" in told["g"]
            assert "which has no instance: evolve must return a state" in told["h"]
            assert len(await timers(app)) == 100

    asyncio.run(main())


def test_an_app_is_refused_for_what_makes_no_process(site):
    def fold(state: int, event: Recorded) -> int:
        return state

    def untyped(state, event: Requested):
        return state

    def tell(event: Requested, state: int) -> None:
        return None

    for part, words in [
        (Process("p", tell, fold, 0), "name the events it takes"),
        (Process("p", tell, untyped, 0), "annotate what evolve returns, or write state="),
        (Process("waiting", tell, fold, 0, on=Move), "is no event but the command"),
        (Process("waiting", tell, transfer.evolve, "none"), "its initial state: "),
    ]:
        with pytest.raises(Misconfigured, match=words):
            site.app([requests, account, part])
    with pytest.raises(Misconfigured, match="two projections, handlers or processes named 'transfer'"):
        site.app([*PARTS, transfer])
    for options in ({"version": 0}, {"start": "last"}, {"concurrency": 0}):
        with pytest.raises(Misconfigured):
            waiting(**options)
