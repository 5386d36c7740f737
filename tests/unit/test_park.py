"""A projection's failures: the key is parked with its reason, and no other row suffers."""

import asyncio
from collections import Counter

import pytest

from foldlog import projection
from foldlog.errors import Invalid, Undecodable
from foldlog.model.message import Draft
from foldlog.ports.store import Append, Batch
from tests.unit.bank import Deposit, Deposited, Open, account, balances
from tests.unit.site import Site
from tests.unit.test_project import MakeTrip, Trip, people, rows, trips


def test_a_fold_that_raises_parks_its_key_and_no_other(site):
    @projection("careful", key=lambda event: ["all", str(event.amount)])
    def careful(row: int | None, event: Deposited) -> int:
        if event.amount == 13:
            raise ZeroDivisionError("thirteen")
        return (row or 0) + event.amount

    async def main():
        app = site.app([account, careful])
        async with app:
            await app.send(account, "1", Open("ann"))
            for amount in (5, 13, 7, 5):
                await app.send(account, "1", Deposit(amount))
            await app.settle()
            assert await rows(app, careful) == {"all": 5, "5": 10, "7": 7}
            letters = await app.dead_letters(careful)
            assert {(one.key, one.type, one.version) for one in letters} == {
                ("all", "account.deposited", 3),
                ("13", "account.deposited", 3),
            }
            assert "ZeroDivisionError: thirteen" in letters[0].error
            for ask in (app.replay, app.discard):
                with pytest.raises(Invalid, match="projection"):
                    await ask(id=letters[0].id)
                with pytest.raises(Invalid, match="projection"):
                    await ask(careful)
                assert await ask(key="all") == 0
        async with site.app([account, careful]) as app:  # what is parked stays parked
            await app.send(account, "1", Deposit(7))
            await app.settle()
            assert await rows(app, careful) == {"all": 5, "5": 10, "7": 14}
            assert len(await app.dead_letters()) == 2

    asyncio.run(main())


def test_found_rows_tell_which_of_them_are_stale(site):
    @projection("careful", key=lambda event: str(100 // event.amount))
    def careful(row: int | None, event: Deposited) -> int:
        if event.amount == 13:
            raise ZeroDivisionError("thirteen")
        return (row or 0) + event.amount

    async def marks(app, **how):
        return {one.key: one.stale for one in await app.find(careful, **how)}

    async def main():
        async with site.app([account, careful]) as app:
            for tenant in ("", "t"):
                await app.send(account, "1", Open("ann"), tenant=tenant)
                await app.send(account, "1", Deposit(100), tenant=tenant)
                await app.send(account, "1", Deposit(12), tenant=tenant)  # 8
            await app.send(account, "1", Deposit(50))  # 2
            await app.settle()
            assert await marks(app) == {"1": False, "2": False, "8": False}
            for _ in range(2):
                await app.send(account, "1", Deposit(13))  # 7: has no row
            await app.send(account, "1", Deposit(14))
            await app.settle()
            assert await marks(app) == {"1": False, "2": False, "8": False}
            bad = [Draft("account.deposited", 1, b'{"amount":0}')] * 2  # its key cannot be told
            await app.system.store.commit(Batch([Append("account-9", bad)]))
            await app.settle()
            assert await marks(app) == {"1": True, "2": True, "8": True}
            assert await marks(app, tenant="t") == {"1": False, "8": False}
        async with site.app([account, careful]).open(functions=False) as app:
            assert await marks(app, low="2", high="7") == {"2": True}

    asyncio.run(main())


def test_a_row_is_stale_from_the_event_that_its_fold_failed_on(site):
    @projection("careful")
    def careful(row: int | None, event: Deposited) -> int:
        if event.amount == 13:
            raise ZeroDivisionError("thirteen")
        return (row or 0) + event.amount

    async def main():
        async with site.app([account, careful]) as app:
            for key in ("1", "2"):
                await app.send(account, key, Open("ann"))
                await app.send(account, key, Deposit(5))
            await app.send(account, "1", Deposit(13))
            await app.send(account, "1", Deposit(7))
            await app.settle()
            assert [(one.key, one.value, one.stale) for one in await app.find(careful)] == [
                ("1", 5, True),
                ("2", 5, False),
            ]

    asyncio.run(main())


def test_an_undecodable_event_parks_its_streams_key(site):
    async def main():
        async with site.app([account, balances]) as app:
            await app.send(account, "1", Open("ann"))
            await app.send(account, "2", Open("bob"))
            bad = [Draft("account.deposited", 1, b'{"amount":"x"}'), Draft("account.deposited", 9, b"{}")]
            await app.system.store.commit(Batch([Append("account-1", bad)]))
            await app.send(account, "2", Deposit(5))
            await app.settle()
            assert await rows(app, balances) == {"1": 0, "2": 5}
            assert [(one.key, one.version) for one in await app.dead_letters()] == [("1", 2)]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("annotation", "value"),
    [(int, "x"), (float, float("nan")), (str, "\ud800"), (str, "x" * 5_000_000), (tuple[int, ...], [1])],
    ids=lambda one: repr(one)[:20],
)
def test_a_row_that_does_not_fit_its_type_parks(annotation, value, clock):
    def fold(row, event: Deposited):
        return value if event.amount == 13 else row

    fold.__annotations__["return"] = annotation | None
    strict = projection("strict")(fold)

    async def main():
        async with Site(clock=clock).app([account, strict]) as app:
            for key, amount in (("1", 13), ("2", 5)):
                await app.send(account, key, Open("ann"))
                await app.send(account, key, Deposit(amount))
            await app.settle()
            assert [one.key for one in await app.dead_letters()] == ["1"]

    asyncio.run(main())


@pytest.mark.parametrize(
    "value", ["x" * 1025, "\ud800", 2**63, float("inf"), [1], object()], ids=lambda one: repr(one)[:9]
)
def test_a_value_that_no_index_takes_parks_its_row_alone(value, site):
    @projection("indexed", indexes=("value",))
    def indexed(row: dict[str, object] | None, event: Deposited) -> dict[str, object]:
        return {"value": value if event.amount == 13 else event.amount}

    async def main():
        async with site.app([account, indexed]) as app:
            for key, amount in (("1", 13), ("2", 5)):
                await app.send(account, key, Open("ann"))
                await app.send(account, key, Deposit(amount))
            await app.settle()
            assert await rows(app, indexed) == {"2": {"value": 5}}
            assert [one.key for one in await app.dead_letters(indexed)] == ["1"]

    asyncio.run(main())


def test_an_error_that_utf8_cannot_hold_parks_too(site):
    @projection("odd")
    def odd(row: int | None, event: Deposited) -> int:
        raise ValueError("\udc80")

    async def main():
        async with site.app([account, odd]) as app:
            await app.send(account, "1", Open("ann"))
            await app.send(account, "1", Deposit(1))
            await app.settle()
            assert len(await app.dead_letters(odd)) == 1

    asyncio.run(main())


def test_a_stored_row_of_another_type_parks_its_key(site):
    @projection("rows")
    def as_text(row: str | None, event: Deposited) -> str:
        return "x"

    @projection("rows")
    def as_number(row: int | None, event: Deposited) -> int:
        return (row or 0) + event.amount

    async def main():
        async with site.app([account, as_text]) as app:
            await app.send(account, "1", Open("ann"))
            await app.send(account, "1", Deposit(1))
            await app.settle()
        async with site.app([account, as_number]) as app:
            for key in "12":
                await app.send(account, key, Open("ann"))
                for _ in range(2):
                    await app.send(account, key, Deposit(1))
            await app.settle()
            assert await app.get(as_number, "2") == 2
            with pytest.raises(Undecodable):
                await app.get(as_number, "1")
            assert [one.key for one in await app.dead_letters(as_number)] == ["1"]

    asyncio.run(main())


@pytest.mark.parametrize("follows", [True, False])
def test_more_rows_than_one_commit_takes_are_committed_in_parts(monkeypatch, site, follows):
    """Of pages as they come, and of a build, which keeps rows and stores each partition's by themselves."""
    monkeypatch.setattr("foldlog.limits.BATCH_ROWS", 20)

    async def ride(app):
        for number in range(10):
            await app.send(trips, "1", MakeTrip(tuple(f"{number}-{one}" for one in range(7))))
        await app.send(trips, "wide", MakeTrip(tuple(f"wide-{one}" for one in range(600))))
        await app.send(trips, "2", MakeTrip(("ann",)))

    async def main():
        if not follows:
            async with site.app([trips]).open(functions=False) as app:
                await ride(app)
        async with site.app([trips, people]) as app:
            await app.settle()
            if follows:
                await ride(app)
                await app.settle()
            found = await rows(app, people)
            assert Counter(found.values()) == {1: 71}
            assert [one.stream for one in await app.dead_letters(people)] == ["trip-wide"]

    asyncio.run(main())


def test_a_bad_key_parks_and_the_others_go_on(site):
    @projection("by", key=lambda trip: trip.start)
    def by(row: int | None, event: Trip) -> int:
        return (row or 0) + 1

    async def main():
        async with site.app([trips, by]) as app:
            for stream, start in enumerate(["a", "", "x" * 257, "b\n", "c"]):
                await app.send(trips, str(stream), MakeTrip((), start))
            await app.settle()
            assert await rows(app, by) == {"a": 1, "c": 1}
            assert len(await app.dead_letters(by)) == 3
        async with site.app([trips, by]) as app:  # a process that begins again tells of each, too
            await app.send(trips, "5", MakeTrip((), ""))
            await app.settle()
            assert len(await app.dead_letters(by)) == 4

    asyncio.run(main())


@pytest.mark.parametrize(
    ("amounts", "counts"),
    [((5, 5, 13, 13), (2, 1)), ((5, 5, 0, 0), (2, 2)), ((5, 5, 50), (2, 1)), ((5, 0, 13, 50, 5), (2, 3))],
    ids=["fold", "key", "row", "all"],
)
def test_what_failed_does_not_count_as_done(site, amounts, counts):
    """Whether a fold fails, or an event's key cannot be told, or a row does not fit its type."""

    @projection("careful", key=lambda event: str(100 // event.amount))
    def careful(row: int | None, event: Deposited) -> int:
        if event.amount == 13:
            raise ZeroDivisionError("thirteen")
        return "x" if event.amount == 50 else (row or 0) + event.amount

    async def main():
        async with site.app([account, careful]).open(functions=False) as app:
            bodies = [b'{"amount":%d}' % amount for amount in amounts]
            drafts = [Draft("account.deposited", 1, body) for body in bodies]
            await app.system.store.commit(Batch([Append("account-1", drafts)]))
        async with site.app([account, careful]) as app:
            await app.settle()
            progress = app.runner("view.careful.1").progress
            assert (progress.done, progress.failed) == counts

    asyncio.run(main())
