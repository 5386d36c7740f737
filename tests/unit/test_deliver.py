"""Handlers: in order for each key, keys side by side, nothing unfinished behind the checkpoint."""

import asyncio
import threading

import pytest

from foldlog import Backoff, Context, DeadLetter, Recorded, Retry, Skip, handler
from foldlog.flow.lease import checkpoint, checkpoints
from foldlog.flow.partition import partition_of
from foldlog.model.message import Draft
from foldlog.ports.store import Append, Batch
from tests.unit.bank import Deposit, Deposited, Open, Opened, account
from tests.unit.site import Site, turns, until


async def fill(app, keys="ab", count=3):
    for key in keys:
        await app.send(account, key, Open(key))
    for amount in range(1, count + 1):
        for key in keys:
            await app.send(account, key, Deposit(amount))


def test_events_of_a_key_come_in_order_and_once(site):
    seen = []

    @handler("see")
    async def see(event: Opened | Deposited, ctx: Context) -> None:
        await asyncio.sleep(0)
        seen.append((ctx.recorded.stream, ctx.recorded.version))

    async def main():
        async with site.app([account, see]) as app:
            await fill(app, "abc", 5)
            await app.settle()
            assert sorted(seen) == [(f"account-{key}", version) for key in "abc" for version in range(1, 7)]
            for key in "abc":
                assert [version for stream, version in seen if stream == f"account-{key}"] == [1, 2, 3, 4, 5, 6]
            found = await checkpoints(app.system.store, "handler.see")
            assert {found[partition_of("", key)].position for key in "abc"} >= {18}
        async with site.app([account, see]) as app:
            await app.settle()
            assert len(seen) == 18
            assert (await checkpoint(app.system.store, "handler.see")).position == 18  # a clean stop leaves none behind

    asyncio.run(main())


def test_keys_run_side_by_side_up_to_the_concurrency(clock):
    running, most = set(), []
    gate = asyncio.Event()

    @handler("see", concurrency=3)
    async def see(event: Opened, ctx: Context) -> None:
        running.add(ctx.recorded.key)
        most.append(len(running))
        if len(running) == 3:
            await turns()
            gate.set()
        await gate.wait()
        running.discard(ctx.recorded.key)

    async def main():
        async with Site(clock=clock).app([account, see]) as app:
            await fill(app, "abcdefgh", 0)
            await app.settle()
            assert max(most) == 3

    asyncio.run(main())


def test_a_slow_key_holds_up_no_other(clock):
    gate, seen = asyncio.Event(), []

    @handler("see", concurrency=2)
    async def see(event: Opened | Deposited, ctx: Context) -> None:
        if ctx.recorded.key == "a":
            await gate.wait()
        seen.append(ctx.recorded.key)

    async def main():
        async with Site(clock=clock).app([account, see]) as app:
            await fill(app, "ab", 20)
            await until(lambda: seen.count("b") >= 21)
            assert "a" not in seen
            await turns()
            assert (await checkpoint(app.system.store, "handler.see")).position == 0
            gate.set()
            await app.settle()
            assert seen.count("a") == 21

    asyncio.run(main())


def test_the_key_of_a_handler_gives_the_order(site):
    seen, running = [], set()

    @handler("see", key=lambda event: str(event.amount % 2))
    async def see(event: Deposited, ctx: Context) -> None:
        assert event.amount % 2 not in running
        running.add(event.amount % 2)
        await turns(3)
        running.discard(event.amount % 2)
        seen.append(ctx.recorded.position)

    async def main():
        async with site.app([account, see]) as app:
            await fill(app, "ab", 6)
            await app.settle()
            assert sorted(seen) == list(range(3, 15))

    asyncio.run(main())


def _position(event: Recorded[Deposited]) -> str:
    return str(event.position)


def test_a_key_may_read_the_envelope_and_a_key_that_fails_falls_back(site, caplog):
    lanes = []

    @handler("see", key=_position)
    async def see(event: Recorded[Deposited]) -> None:
        lanes.append(event.position)

    @handler("bad", key=lambda event: 1 // 0)
    def bad(event: Deposited) -> None:
        lanes.append(str(event.amount))

    async def main():
        async with site.app([account, see, bad]) as app:
            await fill(app, "a", 2)
            await app.settle()
            assert sorted(lanes, key=repr) == ["1", "2", 2, 3]
            lines = [one for one in caplog.records if "cannot be told" in one.getMessage()]
            assert lines[0].getMessage().startswith("handler.bad: the key of account-a@2 cannot be told")
            assert [bool(one.exc_info) for one in lines] == [True]  # one traceback, however many fail

    asyncio.run(main())


def test_the_window_bounds_what_is_in_flight(monkeypatch, clock):
    monkeypatch.setattr("foldlog.limits.WINDOW", 4)
    monkeypatch.setattr("foldlog.limits.PAGE", 2)
    gate, begun = asyncio.Event(), []

    @handler("see", concurrency=4)
    async def see(event: Opened, ctx: Context) -> None:
        begun.append(ctx.recorded.position)
        await gate.wait()

    async def main():
        async with Site(clock=clock).app([account, see]) as app:
            await fill(app, "abcdefghij", 0)
            await turns(200)
            assert sorted(begun) == [1, 2, 3, 4]
            gate.set()
            await app.settle()
            assert sorted(begun) == list(range(1, 11))

    asyncio.run(main())


def test_what_waits_is_bounded_and_reading_goes_on_when_there_is_room(monkeypatch, clock):
    monkeypatch.setattr("foldlog.limits.PARKED", 4)
    monkeypatch.setattr("foldlog.limits.WINDOW", 3)
    monkeypatch.setattr("foldlog.limits.PAGE", 2)
    broken, seen = True, []

    @handler("see", retry=Backoff(1), concurrency=2)
    async def see(event: Opened | Deposited, ctx: Context) -> None:
        if broken and ctx.recorded.key == "a":
            raise ValueError
        seen.append(ctx.recorded.position)

    async def main():
        nonlocal broken
        async with Site(clock=clock).app([account, see]) as app:
            await app.send(account, "a", Open("a"))
            for amount in range(10):
                await app.send(account, "a", Deposit(amount + 1))
            await app.send(account, "b", Open("b"))
            await turns(300)
            assert not seen  # the reader stands before b: too much waits behind a's dead letter
            assert len([one async for one in _items(app)]) <= 6
            broken = False
            assert await app.replay(see) == 1
            await app.settle()
            assert sorted(seen) == list(range(1, 13))
            assert not [one async for one in _items(app)]

    asyncio.run(main())


async def _items(app):
    from foldlog.flow import inbox  # noqa: PLC0415 - used here alone

    async for item in inbox.items(app.system.store, "handler.see"):
        yield item


def test_failures_are_tried_again_by_schedule_and_later_events_of_the_key_wait(site, clock):
    tries, seen = [], []

    @handler("see", retry=Backoff(4, first=100, ceiling=300))
    async def see(event: Opened | Deposited, ctx: Context) -> None:
        if isinstance(event, Opened) and event.owner == "a":
            tries.append((ctx.attempt, clock.now(), ctx.id))
            if ctx.attempt < 3:
                raise ValueError("not yet")
        seen.append((ctx.recorded.key, ctx.recorded.version))

    async def main():
        async with site.app([account, see]) as app:
            await fill(app, "ab", 2)
            await app.settle()
            assert [number for number, _, _ in tries] == [1, 2, 3]
            assert len({id_ for _, _, id_ in tries}) == 1
            assert tries[0][1] <= tries[1][1] <= tries[0][1] + 100e6
            assert tries[1][1] <= tries[2][1] <= tries[1][1] + 200e6
            assert [one for one in seen if one[0] == "a"] == [("a", 1), ("a", 2), ("a", 3)]
            assert not [one async for one in _items(app)]
            assert not await app.dead_letters()

    asyncio.run(main())


@pytest.mark.parametrize("after_dead", ["wait", "go on"])
def test_behind_a_dead_letter_they_wait_or_go_on(after_dead, site, clock):
    seen, broken = [], True

    @handler("see", retry=Backoff(2, 1, 1), after_dead=after_dead)
    async def see(event: Opened | Deposited, ctx: Context) -> None:
        if broken and ctx.recorded.stream == "account-a" and ctx.recorded.version == 2:
            raise ValueError("no")
        seen.append((ctx.recorded.key, ctx.recorded.version))

    async def main():
        nonlocal broken
        async with site.app([account, see]) as app:
            await fill(app, "ab", 3)
            await app.settle()
            letters = await app.dead_letters(see)
            assert [(one.key, one.version, one.attempts) for one in letters] == [("a", 2, 2)]
            later = [("a", 3), ("a", 4)] if after_dead == "go on" else []
            assert [one for one in seen if one[0] == "a"] == [("a", 1), *later]
            assert len([one for one in seen if one[0] == "b"]) == 4
        async with site.app([account, see]) as app:  # the same after a restart
            await app.send(account, "a", Deposit(9))
            await app.settle()
            later += [("a", 5)] if later else []
            assert [one for one in seen if one[0] == "a"] == [("a", 1), *later]
            broken = False
            assert await app.replay(id=letters[0].id) == 1
            await app.settle()
            rest = [("a", 2)] if later else [("a", number) for number in (2, 3, 4, 5)]
            assert [one for one in seen if one[0] == "a"] == [("a", 1), *later, *rest]
            assert not await app.dead_letters()
        async with site.app([account, see]) as app:
            await app.settle()
            assert len([one for one in seen if one[0] == "a"]) == 5
            assert not [one async for one in _items(app)]

    asyncio.run(main())


def test_verdicts(site, clock):
    tries = []

    @handler("see", retry=Backoff(3, 1, 1))
    async def see(event: Opened | Deposited, ctx: Context) -> Retry | Skip | DeadLetter | None:
        tries.append((ctx.recorded.version, ctx.attempt, clock.now()))
        match event:
            case Opened():
                return Retry(1000, "later") if ctx.attempt == 1 else None
            case Deposited(1):
                return Skip("nothing to do")
            case Deposited(2):
                return DeadLetter("never")
            case Deposited(3):
                return Retry(5)
        return None

    async def main():
        async with site.app([account, see]) as app:
            await fill(app, "a", 2)
            await app.settle()
            assert [one[:2] for one in tries] == [(1, 1), (1, 2), (2, 1), (3, 1)]
            assert tries[1][2] - tries[0][2] == 1000 * 1_000_000
            (letter,) = await app.dead_letters()
            assert (letter.error, letter.attempts) == ("never", 1)
            assert await app.discard(id=letter.id) == 1
            await app.send(account, "a", Deposit(3))
            await app.settle()
            (letter,) = await app.dead_letters()
            assert (letter.attempts, letter.error) == (3, "asked to be tried again after 5 seconds")

    asyncio.run(main())


def test_a_plain_function_runs_in_a_thread(site):
    seen = []

    @handler("see")
    def see(event: Opened) -> None:
        seen.append(threading.current_thread() is not threading.main_thread())

    async def main():
        async with site.app([account, see]) as app:
            await fill(app, "abc", 0)
            await app.settle()
            assert seen == [True] * 3

    asyncio.run(main())


def test_an_undecodable_event_is_a_dead_letter_of_its_key(site):
    seen = []

    @handler("see", retry=Backoff(2, 0, 0))
    async def see(event: Deposited, ctx: Context) -> None:
        seen.append(ctx.recorded.stream)

    async def main():
        async with site.app([account, see]) as app:
            await app.system.store.commit(
                Batch([Append("account-a", [Draft("account.deposited", 1, b'{"amount":"x"}')])])
            )
            await fill(app, "b", 1)
            await app.settle()
            assert seen == ["account-b"]
            (letter,) = await app.dead_letters()
            assert "does not fit the code" in letter.error

    asyncio.run(main())


def test_a_handler_may_start_at_what_is_new(site):
    seen = []

    @handler("see", start="new")
    async def see(event: Opened, ctx: Context) -> None:
        seen.append(event.owner)

    async def main():
        async with site.app([account]).open(functions=False) as app:
            await fill(app, "ab", 0)
        async with site.app([account, see]) as app:
            await app.settle()
            await fill(app, "cd", 0)
            await app.settle()
        async with site.app([account]).open(functions=False) as app:
            await fill(app, "e", 0)
        async with site.app([account, see]) as app:
            await app.settle()
        assert sorted(seen) == ["c", "d", "e"]

    asyncio.run(main())


def test_many_hot_and_cold_keys_share_the_slots_fairly(clock):
    seen = []

    @handler("see", concurrency=1)
    async def see(event: Opened | Deposited, ctx: Context) -> None:
        seen.append(ctx.recorded.key)

    async def main():
        site = Site(clock=clock)
        async with site.app([account]).open(functions=False) as app:
            await app.send(account, "hot", Open("x"))
            for _ in range(50):
                await app.send(account, "hot", Deposit(1))
            await app.send(account, "cold", Open("x"))
        async with site.app([account, see]) as app:
            await app.settle()
        assert seen.index("cold") < 5

    asyncio.run(main())
