"""Projections: every row is the fold of all its events, each folded exactly once."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from foldlog import App, Decider, Recorded, Unavailable, command, event, projection
from foldlog.errors import Invalid
from foldlog.flow import serving
from foldlog.model.message import Draft
from foldlog.ports.store import Append, Batch
from tests.unit.bank import Close, Closed, Deposit, Deposited, Open, Opened, account, balances, evolve
from tests.unit.site import Site, crash_at, kill, quiet, settled_or_dead


async def fill(app, streams=4, rounds=3):
    for key in range(streams):
        await app.send(account, str(key), Open(f"owner {key}"))
        for amount in range(1, rounds + 1):
            await app.send(account, str(key), Deposit(amount + key))


async def rows(app, part, **options):
    return {found.key: found.value for found in await app.find(part, **options)}


async def fresh(app, fold=evolve):
    """What the rows must be, by an independent pass over the log."""
    made = {}
    async for one in app.read():
        made[one.key] = fold(made.get(one.key), one.data)
    return {key: value for key, value in made.items() if value is not None}


@pytest.mark.parametrize("stored", [False, True])
def test_rows_are_exactly_once_wherever_it_crashes(stored, clock, monkeypatch, url):
    monkeypatch.setattr("foldlog.limits.FOLD_PAGE", 3)

    async def main():
        site = Site(url, clock)
        async with site.app([account]).open(functions=False) as app:
            await fill(app)
            wanted = await fresh(app)
        number, crashed = 0, True
        while crashed:
            number += 1
            clock.advance(60)
            app = site.app([account, projection("balances", version=number)(evolve_row)])
            view = app.parts[1]
            vars(app.link).update(crash_at(number, stored=stored))
            crashed = await settled_or_dead(app)
            if crashed:
                await kill(app)
                clock.advance(60)
                app = site.app([account, view])
                await app.start()
                await app.settle()
            app.link.before = app.link.after = quiet
            assert await rows(app, view) == wanted
            await app.stop()
        assert number > 4

    asyncio.run(main())


def evolve_row(row: int | None, event: Opened | Deposited | Closed) -> int | None:
    return evolve(row, event)


def test_an_unavailable_store_is_tried_again(clock):
    async def main():
        app = Site(clock=clock).app([account, balances])

        def sometimes(link, batch):
            if not batch.appends and link.commits % 5 == 0:
                raise Unavailable("not now")

        app.link.before = sometimes
        async with app:
            await fill(app)
            await app.settle()
            assert await rows(app, balances) == await fresh(app)
            app.link.before = quiet

    asyncio.run(main())


def test_two_owners_never_fold_an_event_twice(clock, monkeypatch):
    monkeypatch.setattr("foldlog.limits.FOLD_PAGE", 1)

    async def main():
        site = Site(clock=clock)
        one, two = site.app([account, balances]), site.app([account, balances])
        one.link.before = lambda link, batch: clock.advance(20)  # every lease is over before it is written
        await one.start()
        await two.start()
        await fill(two, 2, 2)
        for key in ("0", "1"):
            receipt = await two.send(account, key, Deposit(100))
            await two.get(balances, key, after=receipt)
        assert await rows(two, balances) == await fresh(two)
        await two.stop()
        await one.stop()

    asyncio.run(main())


def test_a_row_is_deleted_by_none_and_may_come_again(site):
    async def main():
        async with site.app([account, balances]) as app:
            await app.send(account, "1", Open("ann"))
            await app.settle()
            assert await app.get(balances, "1") == 0
            receipt = await app.send(account, "1", Close())
            assert await app.get(balances, "1", after=receipt) is None
            assert not await app.find(balances)
            await app.send(account, "1", Open("bob"))
            receipt = await app.send(account, "1", Deposit(3))
            assert await app.get(balances, "1", after=receipt) == 3

    asyncio.run(main())


@event("trip.made")
class Trip:
    people: tuple[str, ...]
    start: str


@command("trip.make")
class MakeTrip:
    people: tuple[str, ...]
    start: str = "x"


def _make(command: MakeTrip, state: int) -> list[Trip]:
    return [Trip(command.people, command.start)]


def _one_more(state: int, event: Trip) -> int:
    return state + 1


trips = Decider("trip", _make, _one_more, initial=0)


@projection("people", key=lambda trip: trip.people)
def people(row: int | None, event: Trip) -> int:
    return (row or 0) + 1


@projection("starts", key=lambda trip: trip.start)
def starts(row: list[str] | None, event: Recorded[Trip]) -> list[str]:
    return [*(row or []), event.stream]


def _stream(event: Recorded[Trip]) -> str | None:
    return event.stream if event.version == 1 else None


@projection("streams", key=_stream)
def streams(row: int | None, event: Trip) -> int:
    return (row or 0) + 1


@projection("everything", key=lambda recorded: "all")
def everything(row: int | None, event: Recorded) -> int:  # type: ignore[type-arg]  # every event, undecoded
    return (row or 0) + 1


def test_an_event_goes_into_the_rows_that_key_names(site):
    async def main():
        async with site.app([trips, account, people, starts, streams]) as app:
            await app.send(trips, "1", MakeTrip(("ann", "bob", "ann")))
            await app.send(trips, "1", MakeTrip(("bob",), "y"))
            await app.send(trips, "2", MakeTrip(()))
            await app.settle()
            assert await rows(app, people) == {"ann": 1, "bob": 2}
            assert await rows(app, starts) == {"x": ["trip-1", "trip-2"], "y": ["trip-1"]}
            assert await rows(app, streams) == {"trip-1": 1, "trip-2": 1}

    asyncio.run(main())


def test_a_fold_that_takes_recorded_alone_sees_all_undecoded(site):
    @projection("total")
    def total(row: int | None, event: Recorded) -> int:
        return (row or 0) + event.version

    async def main():
        async with site.app([trips, total]) as app:
            await app.send(trips, "1", MakeTrip(("ann",)))
            await app.system.store.commit(Batch([Append("trip-1", [Draft("un.known", 1, b"no json")])]))
            await app.settle()
            assert await rows(app, total) == {"1": 3}

    asyncio.run(main())


def test_tenants_have_rows_of_their_own(site):
    async def main():
        async with site.app([account, balances]) as app:
            for tenant in ("", "a"):
                await app.send(account, "1", Open("ann"), tenant=tenant)
            await app.send(account, "1", Deposit(5), tenant="a")
            await app.settle()
            assert [await app.get(balances, "1", tenant=tenant) for tenant in ("", "a", "b")] == [0, 5, None]
            assert [found.value for found in await app.find(balances, tenant="a")] == [5]

    asyncio.run(main())


@dataclass
class Person:
    name: str
    age: int | None
    seen: datetime | None = None


@event("person.changed")
class Changed:
    name: str
    age: int | None = None
    seen: datetime | None = None


@command("person.change")
class Change:
    name: str
    age: int | None = None
    seen: datetime | None = None


def _change(command: Change, state: int) -> list[Changed]:
    return [Changed(command.name, command.age, command.seen)]


def _changed(state: int, event: Changed) -> int:
    return state + 1


persons = Decider("person", _change, _changed, initial=0)


@projection("persons", indexes=("name", "age", "seen"))
def person_rows(row: Person | None, event: Changed) -> Person:
    return Person(event.name, event.age, event.seen)


def test_find_goes_by_index_range_and_page_in_both_directions(site):
    async def main():
        async with site.app([persons, person_rows]) as app:
            for number, (name, age) in enumerate([("ann", 30), ("bob", 20), ("cid", None), ("dan", 20), ("eve", 40)]):
                await app.send(persons, str(number), Change(name, age, datetime(2026, 1, 10 - number, tzinfo=UTC)))
            await app.send(persons, "4", Change("abe", 41))
            await app.settle()

            async def found(*args, **options):
                return [one.value.name for one in await app.find(person_rows, *args, **options)]

            assert await found() == ["ann", "bob", "cid", "dan", "abe"]
            assert await found(None, "1", "2") == ["bob", "cid"]
            assert await found("name") == ["abe", "ann", "bob", "cid", "dan"]
            assert await found("age") == ["cid", "bob", "dan", "ann", "abe"]
            assert await found("age", 20, 30) == ["bob", "dan", "ann"]
            assert await found("age", 21) == ["ann", "abe"]
            assert await found("age", high=20) == ["bob", "dan"]
            assert await found("age", backward=True) == ["abe", "ann", "dan", "bob", "cid"]
            assert await found("seen", datetime(2026, 1, 8, tzinfo=UTC)) == ["cid", "bob", "ann"]
            for backward in (False, True):
                pages, after = [], None
                while page := await app.find(person_rows, "age", limit=2, after=after, backward=backward):
                    assert len(page) <= 2
                    pages += [one.value.name for one in page]
                    after = page[-1]
                assert pages == await found("age", backward=backward)
            for wrong in ({"index": "nope"}, {"limit": 0}, {"limit": 10**6}, {"low": 5}, {"index": "age", "low": []}):
                with pytest.raises(Invalid):
                    await app.find(person_rows, **wrong)

    asyncio.run(main())


def test_a_new_version_is_a_new_table_beside_the_old_one(site):
    doubled = projection("balances", version=2)(_doubled)

    async def main():
        async with site.app([account, balances]) as app:
            await fill(app, 2, 2)
            await app.settle()
            before = await rows(app, balances)
        async with site.app([account, doubled]) as app:
            await app.settle()
            assert await rows(app, doubled) == {key: 2 * value for key, value in before.items()}
            with pytest.raises(Invalid, match="not in this app's list"):
                await app.get(balances, "1")
            await serving.back(app.system.store, "balances")
        async with site.app([account, balances]) as app:
            assert await rows(app, balances) == before

    asyncio.run(main())


def _doubled(row: int | None, event: Deposited) -> int:
    return (row or 0) + 2 * event.amount


def test_rows_kept_between_pages_are_bounded(monkeypatch, clock):
    monkeypatch.setattr("foldlog.limits.ROW_CACHE", 4)
    monkeypatch.setattr("foldlog.limits.FOLD_PAGE", 3)

    async def main():
        async with Site(clock=clock).app([account, balances]) as app:
            await fill(app, 9, 3)
            await app.settle()
            await fill(app, 9, 3)
            await app.settle()
            assert await rows(app, balances) == await fresh(app)

    asyncio.run(main())


def test_an_app_without_functions_waits_for_the_one_that_has_them(site):
    async def main():
        reader, owner = site.app([account, balances]), site.app([account, balances])
        async with reader.open(functions=False), owner:
            await reader.send(account, "1", Open("ann"))
            receipt = await reader.send(account, "1", Deposit(7))
            assert await reader.get(balances, "1", after=receipt) == 7
            with pytest.raises(Invalid, match="without its functions"):
                await reader.settle()
        async with (
            reader.open(functions=False) if site.url != "memory:" else App("memory:", [account, balances]) as app
        ):
            receipt = await app.send(account, "2", Open("ann"))

    asyncio.run(main())


def test_waiting_for_a_row_ends(site):
    async def main():
        async with site.app([account, balances]).open(functions=False) as app:
            receipt = await app.send(account, "1", Open("ann"))
            with pytest.raises(Unavailable, match="did not come to position 1"):
                await app.get(balances, "1", after=receipt, timeout=0.01)

    asyncio.run(main())


def test_two_apps_with_functions_may_both_wait_for_their_rows(site):
    async def main():
        one, two = site.app([account, balances]), site.app([account, balances])
        async with one, two:
            for number, app in enumerate((one, two, one)):
                await app.send(account, str(number), Open("ann"))
                receipt = await app.send(account, str(number), Deposit(7))
                assert await app.get(balances, str(number), after=receipt) == 7

    asyncio.run(main())
