"""Inline projections: rows that are committed together with the events, and followed up for what others appended."""

import asyncio
import random

import pytest

from foldlog import Conflict, Decider, projection
from foldlog.model.message import Draft
from foldlog.ports.store import Append, Batch, Range
from tests.unit.bank import (
    Close,
    Closed,
    Deposit,
    Deposited,
    Open,
    Opened,
    Take,
    account,
    decide,
    evolve,
    inline,
    names,
)
from tests.unit.site import Site, kill


async def imported(app, stream, *amounts):
    """Events that come into the log past the senders."""
    drafts = [Draft("account.deposited", 1, b'{"amount":%d}' % amount) for amount in amounts]
    await app.system.store.commit(Batch([Append(stream, drafts)]))


def test_the_row_is_there_with_the_events(site):
    async def main():
        app = site.app([account, inline])
        async with app.open(functions=False):
            await app.send(account, "1", Open("ann"))
            before = app.link.commits
            await app.send(account, "1", Deposit(2))
            receipt = await app.send(account, "1", Deposit(3))
            assert app.link.commits - before == 2
            assert await app.get(inline, "1", after=receipt) == 5
            await app.send(account, "1", Close())
            assert await app.get(inline, "1") is None
            assert await app.find(inline) == []
            await app.send(account, "1", Open("bob"))
            assert await app.get(inline, "1") == 0

    asyncio.run(main())


def test_a_sender_catches_up_with_what_was_imported(site, monkeypatch):
    monkeypatch.setattr("foldlog.limits.PAGE_MAX", 2)

    async def main():
        async with site.app([account, inline]).open(functions=False) as app:
            await app.send(account, "1", Open("ann"))
            await imported(app, "account-1", 1, 2, 3)
            await app.send(account, "1", Deposit(10))
            assert await app.get(inline, "1") == 16

    asyncio.run(main())


def test_a_follower_catches_up_and_never_folds_twice(site):
    async def main():
        async with site.app([account, inline]) as app:
            await app.send(account, "1", Open("ann"))
            await imported(app, "account-1", 1, 2)
            await app.settle()
            assert await app.get(inline, "1") == 3
            await app.send(account, "1", Deposit(4))
            await app.settle()
            assert await app.get(inline, "1") == 7

    asyncio.run(main())


def test_an_inline_row_of_an_old_log_is_built(site):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            for key in "12":
                await app.send(account, key, Open("ann"))
                await app.send(account, key, Deposit(5))
        async with site.app([account, inline]) as app:
            await app.send(account, "2", Deposit(1))
            await app.settle()
            assert [await app.get(inline, key) for key in "12"] == [5, 6]

    asyncio.run(main())


@pytest.mark.parametrize("with_other", [False, True])
def test_tombstones_go_when_the_follower_has_passed(site, with_other):
    @projection("inline", inline=True)
    def no_opened(row: int | None, event: Deposited | Closed) -> int | None:
        return evolve(row, event)

    def decide_both(command: Open | Deposit | Close, balance: int | None) -> list[Opened | Deposited | Closed]:
        events = decide(command, balance)
        return [*events, Opened("next")] if with_other and isinstance(command, Close) else events

    part = Decider("account", decide_both, evolve, initial=None)

    async def main():
        async with site.app([part, no_opened]) as app:
            await app.send(part, "1", Open("ann"))
            await app.send(part, "1", Deposit(1))
            await app.send(part, "1", Close())
            await app.settle()
            view = app.system.views["inline"]
            assert (await app.system.store.scan(view.table, Range())).rows == []
            await app.send(part, "1", Open("bob"))
            await app.send(part, "1", Deposit(7))
            await app.settle()
            assert await app.get(no_opened, "1") == 7

    asyncio.run(main())


def test_an_import_right_behind_a_tombstone(clock):
    async def main():
        site = Site(clock=clock)
        async with site.app([account, inline]).open(functions=False) as app:
            await app.send(account, "1", Open("ann"))
            await app.send(account, "1", Close())
            await imported(app, "account-1", 4)
        async with site.app([account, inline]) as app:
            await app.settle()
            assert await app.get(inline, "1") == 4

    asyncio.run(main())


def test_a_follower_that_meets_a_sender_does_its_page_again(clock):
    async def main():
        site = Site(clock=clock)
        sender, follower = site.app([account, inline]), site.app([account, inline])
        async with sender.open(functions=False):
            await sender.send(account, "1", Open("ann"))
            await imported(sender, "account-1", 1)
            met = []

            def first(link, batch):
                if not met and any(change.table.name.startswith("view.") for change in batch.rows):
                    met.append(batch)
                    raise Conflict("view.inline.1/1", 1, 2, row="view.inline.1/1")

            follower.link.before = first
            async with follower:
                await follower.settle()
                assert met
                assert await follower.get(inline, "1") == 1

    asyncio.run(main())


def test_what_the_fold_raises_goes_to_the_sender_and_nothing_is_stored(site):
    @projection("inline", inline=True)
    def strict(row: int | None, event: Deposited) -> int:
        if event.amount == 13:
            raise ZeroDivisionError
        return event.amount

    async def main():
        async with site.app([account, strict]).open(functions=False) as app:
            await app.send(account, "1", Open("ann"))
            with pytest.raises(ZeroDivisionError):
                await app.send(account, "1", Deposit(13))
            assert (await app.send(account, "1", Deposit(5))).version == 2

    asyncio.run(main())


def test_inline_rows_of_a_decider_with_a_scope(site):
    from tests.unit.bank import Taken  # noqa: PLC0415 - used here alone

    @projection("taken", inline=True)
    def taken(row: int | None, event: Taken) -> int:
        return (row or 0) + 1

    async def main():
        async with site.app([names, taken]).open(functions=False) as app:
            await asyncio.gather(*(app.send(names, "1", Take(name)) for name in "abcd"))
            assert await app.get(taken, "1") == 4

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(8))
def test_inline_rows_are_the_fold_whoever_writes_and_crashes(seed, clock):
    draw = random.Random(seed)

    async def main():
        site = Site(clock=clock)
        app = site.app([account, inline])
        await app.start()
        for _ in range(60):
            key = draw.choice("123")
            match draw.randrange(8):
                case 0:
                    await app.send(account, key, Open("ann"))
                case 1 if await app.get(account, key) is not None:
                    await app.send(account, key, Close())
                case 2:
                    await imported(app, f"account-{key}", draw.randrange(9))
                case 3:
                    await kill(app)
                    clock.advance(60)
                    app = site.app([account, inline])
                    await app.start()
                case 4:
                    await app.settle()
                case _ if await app.get(account, key) is not None:
                    await app.send(account, key, Deposit(draw.randrange(1, 9)))
        await app.settle()
        wanted = {}
        async for one in app.read():
            wanted[one.key] = evolve(wanted.get(one.key), one.data)
        assert {key: await app.get(inline, key) for key in wanted} == wanted
        await app.stop()

    asyncio.run(main())
