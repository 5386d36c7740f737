"""The public face: what each method gives and refuses, opening and closing, settling."""

import asyncio

import pytest

from foldlog import App, Backoff, Context, Query, Unavailable, handler, projection
from foldlog.errors import Invalid, NotFound
from tests.unit.bank import Close, Deposit, Deposited, Open, Opened, account, balances, evolve, fold, names
from tests.unit.site import Handled, Site, turns, until


async def versions(events):
    return [event.version async for event in events]


def test_read_goes_by_stream_and_query_in_both_directions(site, monkeypatch):
    monkeypatch.setattr("foldlog.limits.PAGE", 2)

    async def main():
        async with site.app([account]).open(functions=False) as app:
            for key in "ab":
                await app.send(account, key, Open(key))
                for _ in range(4):
                    await app.send(account, key, Deposit(1))
            assert await versions(app.read("account-a")) == [1, 2, 3, 4, 5]
            assert await versions(app.read("account-a", after=2, limit=2)) == [3, 4]
            assert await versions(app.read("account-a", backward=True)) == [5, 4, 3, 2, 1]
            assert await versions(app.read("account-a", backward=True, after=4, limit=3)) == [3, 2, 1]
            assert [event.position async for event in app.read()] == list(range(1, 11))
            assert [event.position async for event in app.read(after=7)] == [8, 9, 10]
            assert [event.position async for event in app.read(backward=True, limit=3)] == [10, 9, 8]
            opened = Query(types=("account.opened",))
            assert [event.position async for event in app.read(opened)] == [1, 6]
            assert [event.position async for event in app.read(Query(tags=("owner:b",)))] == [6]
            assert await versions(app.read("account-none")) == []
            for wrong in ({"limit": 0}, {"limit": -1}, {"limit": 2.5}, {"after": -1}, {"after": "x"}, {"query": "x"}):
                with pytest.raises(Invalid):
                    await versions(app.read(**wrong))

    asyncio.run(main())


def test_parts_that_are_not_listed_are_refused():
    async def main():
        async with App("memory:", [account, balances]) as app:
            with pytest.raises(Invalid, match="unknown decider"):
                await app.send(names, "1", Open("x"))
            for part in (names, projection("other")(fold), projection("balances")(fold), "balances"):
                with pytest.raises(Invalid):
                    await app.get(part, "1")
            with pytest.raises(Invalid):
                await app.find(projection("balances")(fold))
            with pytest.raises(NotFound):
                await app.dead_letters(handler("h")(evolve))
            for key in ("", "a\nb", None):
                with pytest.raises(Invalid):
                    await app.get(balances, key)
            with pytest.raises(Invalid):
                await app.get(balances, "1", tenant="no tenant")

    asyncio.run(main())


def test_a_closed_app_says_so_and_may_be_opened_again(site):
    async def main():
        app = site.app([account, balances])
        for use in (app.send(account, "1", Open("x")), app.get(balances, "1"), app.find(balances), app.dead_letters()):
            with pytest.raises(Unavailable, match="not open"):
                await use
        with pytest.raises(Invalid, match="without its functions"):
            await app.settle()
        with pytest.raises(Unavailable):
            await versions(app.read())
        async with app:
            with pytest.raises(Invalid, match="open already"):
                await app.start()
            await app.send(account, "1", Open("x"))
            await app.settle()
        with pytest.raises(Unavailable, match="not open"):
            await app.send(account, "1", Open("x"))
        if site.url != "memory:":
            async with app:
                assert await app.get(balances, "1") == 0

    asyncio.run(main())


def test_of_two_tasks_that_open_an_app_one_is_refused(site):
    async def main():
        app = site.app([account])
        outcomes = await asyncio.gather(app.start(), app.start(), return_exceptions=True)
        assert sorted(type(one).__name__ for one in outcomes) == ["Invalid", "NoneType"]
        await app.stop()

    asyncio.run(main())


def test_an_app_whose_store_does_not_open_is_not_open(tmp_path):
    async def main():
        app = Handled(f"sqlite:{tmp_path}/none/x.db", [account])
        for _ in range(2):
            with pytest.raises(Exception, match="none"):
                await app.start()
        (tmp_path / "none").mkdir()
        async with app:
            await app.send(account, "1", Open("x"))

    asyncio.run(main())


def test_an_error_inside_the_block_still_closes_the_app(site):
    async def main():
        app = site.app([account, balances])
        with pytest.raises(ZeroDivisionError):
            async with app:
                raise ZeroDivisionError
        with pytest.raises(Unavailable):
            assert app.system

    asyncio.run(main())


def test_settle_waits_for_retries_and_not_for_dead_letters(site):
    tries = []

    @handler("see", retry=Backoff(3, 50, 50))
    async def see(event: Opened, ctx: Context) -> None:
        tries.append(ctx.attempt)
        raise ValueError

    async def main():
        async with site.app([account, balances, see]) as app:
            await app.settle()
            await app.send(account, "1", Open("x"))
            await app.settle()
            assert tries == [1, 2, 3]
            assert len(await app.dead_letters()) == 1
            await app.settle()

    asyncio.run(main())


def test_settle_gives_up_and_says_where_everybody_is():
    @handler("see", retry=Backoff(3, 1000, 1000))
    async def see(event: Opened) -> None:
        raise ValueError

    async def main():
        async with App("memory:", [account, balances, see]) as app:
            receipt = await app.send(account, "1", Open("x"))
            assert await app.get(balances, "1", after=receipt) == 0
            with pytest.raises(Unavailable, match=r"the log is at 1, view.balances.1 at 1, handler.see at"):
                await app.settle(0.05)

    asyncio.run(main())


def test_what_a_function_fails_with_for_good_comes_out(clock, caplog):
    async def main():
        app = Site(clock=clock).app([account, balances])

        def fail(link, batch):
            if any(change.table.name == "view.balances.1" for change in batch.rows):
                raise ZeroDivisionError("a bug")

        app.link.before = fail
        async with app:
            receipt = await app.send(account, "1", Open("x"))
            for use in (app.settle(), app.get(balances, "1", after=receipt)):
                with pytest.raises(ZeroDivisionError, match="a bug"):
                    await use
            await app.send(account, "1", Deposit(1))  # the others go on
        assert "stopped for good, until this process starts anew: ZeroDivisionError: a bug" in caplog.text

    asyncio.run(main())


def test_get_waits_for_what_a_receipt_stands_for(site):
    async def main():
        async with site.app([account, balances]) as app:
            await app.send(account, "1", Open("x"))
            for amount in range(1, 20):
                receipt = await app.send(account, "1", Deposit(1))
                assert await app.get(balances, "1", after=receipt) == amount
            empty = await app.send(account, "1", Open("x"))
            assert await app.get(balances, "1", after=empty) == 19

    asyncio.run(main())


def test_stopping_lets_the_running_attempt_finish_and_starts_no_other(site):
    begun, ended, gate = [], [], asyncio.Event()

    @handler("see", concurrency=1)
    async def see(event: Opened | Deposited, ctx: Context) -> None:
        begun.append(ctx.recorded.position)
        await gate.wait()
        ended.append(ctx.recorded.position)

    async def main():
        app = site.app([account, see])
        await app.start()
        for key in "abc":
            await app.send(account, key, Open(key))
            await app.send(account, key, Deposit(1))
        await until(lambda: begun)
        lanes = app.runner("handler.see")._work._lanes  # noqa: SLF001 - when it has heard of it, no user can tell
        stopping = asyncio.create_task(app.stop())
        await until(lambda: lanes.stopping)
        gate.set()
        await stopping
        assert begun == ended == [1]
        async with site.app([account, see]) as again:
            await again.settle()
            assert sorted(ended) == [1, 2, 3, 4, 5, 6]  # the first was marked

    asyncio.run(main())


def test_an_attempt_that_does_not_end_is_left_after_a_while(site, monkeypatch):
    monkeypatch.setattr("foldlog.limits.STOP", 0.01)
    begun = []

    @handler("see")
    async def see(event: Opened) -> None:
        begun.append(event)
        if len(begun) == 1:
            await asyncio.Event().wait()

    async def main():
        async with site.app([account, see]) as app:
            await app.send(account, "a", Open("a"))
            await until(lambda: begun)
        async with site.app([account, see]) as app:
            await app.settle()
            assert len(begun) == 2

    asyncio.run(main())


def test_a_stopped_app_in_the_middle_of_much_loses_nothing(site):
    seen = []

    @handler("see", concurrency=2)
    async def see(event: Opened | Deposited, ctx: Context) -> None:
        seen.append(ctx.recorded.position)

    async def main():
        async with site.app([account]).open(functions=False) as app:
            for key in "abcd":
                await app.send(account, key, Open(key))
                for _ in range(9):
                    await app.send(account, key, Deposit(1))
        for _ in range(30):
            async with site.app([account, see]):
                await turns(9)
        async with site.app([account, see]) as app:
            await app.settle()
        assert sorted(seen) == list(range(1, 41))

    asyncio.run(main())


def test_closing_deletes_nothing(site):
    async def main():
        async with site.app([account, balances]) as app:
            await app.send(account, "1", Open("x"))
            await app.send(account, "1", Close())
            await app.settle()
            assert await app.get(account, "1") is None

    asyncio.run(main())
