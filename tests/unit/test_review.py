"""What a hostile review once broke: each of these hung, lost or mixed up something before it was mended."""

import asyncio
import threading

from foldlog import Backoff, Decider, Send, command, event, handler, limits, projection
from foldlog.flow import deadletter
from foldlog.flow.lease import CHECKPOINTS, Lease, checkpoint_key, decode
from foldlog.flow.partition import ALL, partition_of
from foldlog.ports.store import Batch, Put
from foldlog.testing.kit import FakeClock
from tests.unit.bank import Deposit, Open, Opened, account
from tests.unit.site import until


@command("account.note")
class Note:
    text: str


@event("account.noted")
class Noted:
    size: int


def _note(command: Note, _count: int) -> list[Noted]:
    return [Noted(len(command.text))]


def _count(count: int, _event: Noted) -> int:
    return count + 1


notes = Decider("note", _note, _count, initial=0)


def test_a_handler_that_hides_its_cancellation_runs_again_after_a_lost_lease(site):
    calls = []

    @handler("stubborn")
    async def stubborn(event: Opened) -> None:
        calls.append(event.owner)
        if len(calls) == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise RuntimeError("a driver's own word for it") from None

    async def main():
        async with site.app([account, stubborn], lease=0.1) as app:
            await app.send(account, "1", Open("ann"))
            await until(lambda: calls)
            store, key = app.system.store, checkpoint_key("handler.stubborn", partition_of("", "1"))
            row = (await store.get(CHECKPOINTS, [key]))[key]
            free = row.value.replace(decode(row).owner.encode(), b"")
            await store.commit(Batch(rows=[Put(CHECKPOINTS, key, free, if_version=row.version)]))
            await app.send(account, "2", Open("bob"))
            await app.settle()
            assert (calls.count("ann"), set(calls)) == (2, {"ann", "bob"})

    asyncio.run(main())


def test_stopping_ends_although_a_handler_catches_its_cancellation(site, monkeypatch):
    monkeypatch.setattr(limits, "STOP", 0.01)
    started = asyncio.Event()

    @handler("late")
    async def late(_event: Opened) -> list[Send]:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return [Send(account, "9", Deposit(1))]
        return []

    async def main():
        app = site.app([account, late])
        await app.start()
        await app.send(account, "1", Open("ann"))
        await started.wait()
        await asyncio.wait_for(app.stop(), 5)

    asyncio.run(main())


def test_answers_that_are_too_large_together_are_stored_in_parts(site, monkeypatch):
    monkeypatch.setattr(limits, "BATCH_BYTES", 20_000)
    together = asyncio.Event()
    calls = []

    @handler("wide", concurrency=32)
    async def wide(event: Opened) -> list[Send]:
        calls.append(event.owner)
        if len(calls) == 16:
            together.set()
        await together.wait()
        return [Send(notes, event.owner, Note("x" * 2_000))]

    async def main():
        async with site.app([account, notes, wide]) as app:
            for number in range(16):
                await app.send(account, str(number), Open(f"o{number}"))
            await app.settle()
            assert [await app.get(notes, f"o{number}") for number in range(16)] == [1] * 16
        assert len(calls) == 16

    asyncio.run(main())


def test_blocking_handlers_wait_in_no_pool(site):
    """More threads at once than any default pool has: each one waits for all the others."""
    barrier = threading.Barrier(16)

    @handler("thread", concurrency=16, retry=Backoff(attempts=1))
    def thread(_event: Opened) -> None:
        barrier.wait(timeout=10)

    async def main():
        async with site.app([account, thread]) as app:
            for number in range(16):
                await app.send(account, str(number), Open("ann"))
            await app.settle()
            assert await app.dead_letters() == []

    asyncio.run(main())


def test_a_replay_that_overtakes_the_wake_up_keeps_the_order(site):
    calls, faults = [], [RuntimeError("once")]

    @handler("one", retry=Backoff(attempts=1), key=lambda _event: "all")
    async def one(event: Opened) -> None:
        if faults and event.owner == "1":
            raise faults.pop()
        calls.append(event.owner)

    async def main():
        app = site.app([account, one])
        await app.start()
        link = app.system.store
        commit = link.commit

        async def slow_to_tell(batch):
            answer = await commit(batch)
            if any(isinstance(change, Put) and b'"dead"' in change.value for change in batch.rows):
                link.commit = commit
                assert await deadletter.replay(link, "handler.one") == 1
                app.runner("handler.one").nudge()
                for _ in range(100):
                    await asyncio.sleep(0)
            return answer

        link.commit = slow_to_tell
        for number in (1, 2, 3):
            await app.send(account, str(number), Open(str(number)))
        await app.settle()
        assert calls == ["1", "2", "3"]
        await app.stop()

    asyncio.run(main())


class Watch(FakeClock):
    """A clock that can be set."""

    time = 10**16

    def now(self) -> int:
        return self.time


def test_a_lease_that_nobody_renews_is_free_however_the_clock_is_set(site, monkeypatch):
    here = 8_191.3  # where adding a lease's time and taking it away again is not exact
    monkeypatch.setattr("foldlog.flow.lease.monotonic", lambda: here)

    async def main():
        nonlocal here
        async with site.app([account]).open(functions=False) as app:
            clock = Watch()
            one, two = (Lease(app.system.store, clock, "f", name, 0.05) for name in ("one", "two"))
            await one.look()
            assert await one.take(ALL, 0)
            clock.time -= 3_600_000_000
            assert one.lagging(dict.fromkeys(ALL, 0)) == list(ALL)
            assert all(held.left == 0.05 for held in (await two.look()).values())
            here += 0.04  # by the machine's own monotonic clock
            assert all(0 < held.left < 0.02 for held in (await two.look()).values())
            here += 0.02
            assert all(held.left == 0 for held in (await two.look()).values())

    asyncio.run(main())


def test_a_repeated_command_is_answered_even_where_the_code_fails_on_it_today(site):
    def fragile(command: Note, count: int) -> list[Noted]:
        return [Noted(10 // (1 - count))]

    decider = Decider("note", fragile, _count, initial=0)

    async def main():
        async with site.app([decider]).open(functions=False) as app:
            first = await app.send(decider, "1", Note("x"), command_id="c")
            again = await app.send(decider, "1", Note("x"), command_id="c")
            assert (again.events, again.repeated) == (first.events, True)

    asyncio.run(main())


def test_a_state_changed_in_place_stays_inside_its_entity(site):
    def decide(command: Note, seen: list[int]) -> list[Noted]:
        return [Noted(len(seen))]

    def evolve(seen: list[int], event: Noted) -> list[int]:
        seen.append(event.size)
        return seen

    decider = Decider("note", decide, evolve, initial=[])

    async def main():
        async with site.app([decider]).open(functions=False) as app:
            for key in "ab":
                assert (await app.send(decider, key, Note("x"))).events == (Noted(0),)
            assert decider.initial == []

    asyncio.run(main())


def test_a_key_that_cannot_be_told_parks_no_row_of_another(site):
    def owner(event: Opened) -> str:
        if event.owner == "nobody":
            raise ValueError("whose?")
        return event.owner

    @projection("owners", key=owner)
    def owners(row: int | None, _event: Opened) -> int:
        return (row or 0) + 1

    async def main():
        async with site.app([account, owners]) as app:
            await app.send(account, "17", Open("nobody"))
            await app.send(account, "18", Open("17"))
            await app.settle()
            assert await app.get(owners, "17") == 1
            (letter,) = await app.dead_letters(owners)
            assert letter.stream == "account-17"

    asyncio.run(main())
