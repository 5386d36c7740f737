"""Processes as their code changes: states and timers that are stored are read by what comes later."""

import asyncio
from dataclasses import dataclass

import pytest

from foldlog import App, Send, Upcast, event
from foldlog.errors import Misconfigured
from foldlog.model.changes import compare, relocked
from foldlog.model.history import History, read_history, write_history
from foldlog.process import Accepted, Process, Timer
from foldlog.system import Resolved
from foldlog.testing import fold_history
from tests.unit.transfers import Move, Request, Requested, account, requests


@event("watch.due")
class Due:
    pass


@event("watch.due", version=2)
class DueSince:
    minutes: int


@dataclass
class Watch:
    target: str


@dataclass
class WatchOf:
    target: str
    currency: str


def first(**options):
    def fold(state: Watch | None, event: Requested | Due | Accepted) -> Watch | None:
        return Watch(event.target) if isinstance(event, Requested) else state

    def tell(event: Requested | Due, state: Watch | None) -> list[Send | Timer]:
        if isinstance(event, Due):
            return []
        return [Send(account, "sent", Move(1)), Timer("due", Due(), after=60)]

    return Process("watch", tell, fold, initial=None, **options)


def second(**options):
    def fold(state: WatchOf | None, event: Requested | DueSince | Accepted) -> WatchOf | None:
        return WatchOf(event.target, "EUR") if isinstance(event, Requested) else state

    def tell(event: Requested | DueSince, state: WatchOf | None) -> list[Send | Timer]:
        if isinstance(event, DueSince) and state:
            return [Send(account, f"{state.target}-{state.currency}-{event.minutes}", Move(1))]
        return [Send(account, "sent", Move(1)), Timer("due", DueSince(5), after=60)]

    return Process("watch", tell, fold, initial=None, version=2, **options)


STEPS = [Upcast("watch", 1, lambda old: {**old, "currency": "DEM"}), Upcast("watch.due", 1, lambda old: {"minutes": 1})]


# A store in memory knows the types of its first app alone.
@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
def test_a_new_version_goes_on_with_stored_states_and_timers_and_sends_nothing_again(site, clock):
    async def main():
        async with site.app([requests, account, first()]) as app:
            await app.send(requests, "1", Request("a", "b", 7))
            await app.settle()
            assert await app.get(account, "sent") == 1
        async with site.app([requests, account, second(), *STEPS]) as app:
            await app.settle()
            assert await app.get(account, "sent") == 1
            clock.advance(61)
            await app.settle()
            assert await app.get(account, "b-DEM-1") == 1
            assert await app.get(account, "sent") == 1
            await app.send(requests, "2", Request("a", "c", 7))
            await app.settle()
            clock.advance(61)
            await app.settle()
            assert await app.get(account, "c-EUR-5") == 1
            assert await app.dead_letters() == []

    asyncio.run(main())


def test_a_version_that_no_upcast_leads_to_is_refused(site):
    with pytest.raises(Misconfigured, match="state 'watch' is at version 2, and no Upcast starts at version 1"):
        site.app([requests, account, second(), STEPS[1]])
    with pytest.raises(Misconfigured, match="names a decider and a process"):
        site.app([account, Process("account", first().react, first().evolve, None)])


def test_a_state_that_the_code_cannot_read_parks_its_instance_until_the_code_is_mended(site, clock):
    @dataclass
    class Other:
        number: int

    def fold(state: Other | None, event: Requested | Due | Accepted) -> Other | None:
        return state

    fold.__annotations__.update({"state": Other | None, "return": Other | None})
    broken = Process("watch", lambda event, state: [], fold, initial=None, on=Requested | Due | Accepted)

    async def main():
        async with site.app([requests, account, first()]) as app:
            await app.send(requests, "1", Request("a", "b", 7))
            await app.settle()
        clock.advance(61)
        async with site.app([requests, account, broken]) as app:
            await app.settle()
            (letter,) = await app.dead_letters()
            assert (letter.function, letter.key, letter.type) == ("process.watch", "1", "watch.due")
            assert "state of 'watch' does not fit the code" in letter.error
        async with site.app([requests, account, first()]) as app:
            await app.replay()
            await app.settle()
            assert await app.dead_letters() == []

    asyncio.run(main())


def schemas(*parts):
    return Resolved([requests, account, *parts]).schemas()


def test_the_lock_file_keeps_the_shapes_of_states_and_of_what_timers_carry(tmp_path):
    locked, refused = relocked(History({}), schemas(first()))
    assert refused == []
    assert {str(key) for key in locked.kept} >= {"state watch version 1", "event watch.due version 1"}
    assert not any("foldlog." in key.name for key in locked.kept)
    again = read_history(write_history(locked))
    assert again == locked
    assert {one.status for one in compare(again, schemas(first()))} == {"unchanged"}

    @dataclass
    class Narrow:
        target: int

    changed = first(state=Narrow)
    (broken,) = [one for one in compare(again, schemas(changed)) if one.status == "changed"]
    assert (broken.key.kind, broken.key.name) == ("state", "watch")
    assert broken.breaks("backward")
    raised = {str(one.key): one.status for one in compare(again, schemas(second(), *STEPS))}
    assert raised["state watch version 1"] == "upcast"
    assert raised["state watch version 2"] == "raised"
    newer, _ = relocked(again, schemas(second(), *STEPS), "backward")
    (tmp_path / "lock.json").write_bytes(write_history(newer))
    assert fold_history(App("memory:", [requests, account, second(), *STEPS]), tmp_path / "lock.json", examples=5) == 8


def test_a_lock_file_of_an_app_without_processes_has_no_states():
    locked, _ = relocked(History({}), schemas())
    assert b'"states"' not in write_history(locked)


def test_names_that_begin_with_foldlog_are_its_own():
    with pytest.raises(Misconfigured, match="Foldlog's own"):
        event("foldlog.something")


def test_a_process_that_is_new_on_an_old_log_begins_where_it_says(site):
    async def main():
        async with site.app([requests, account]) as app:
            await app.send(requests, "1", Request("a", "b", 7))
        async with site.app([requests, account, first(start="new")]) as app:
            await app.settle()
            assert await app.get(account, "sent") == 0
            await app.send(requests, "2", Request("a", "b", 7))
            await app.settle()
            assert await app.get(account, "sent") == 1

    asyncio.run(main())


def test_an_app_without_the_process_reads_what_came_back_to_it():
    async def main():
        async with App("memory:", [requests, account, first()]) as app:
            await app.send(requests, "1", Request("a", "b", 7))
            await app.settle()
            (accepted,) = [one async for one in app.read("watch-1")]
            assert accepted.data == Accepted(Move(1), "account", "sent")

    asyncio.run(main())
