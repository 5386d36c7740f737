"""What is wrong with the parts is said when the app is made: every fault, by name."""

import asyncio
from dataclasses import dataclass
from unittest import mock

import pytest

from foldlog import App, Decider, Recorded, Send, Upcast, command, event, handler, projection
from foldlog.engines.memory import MemoryStore
from foldlog.errors import Misconfigured
from foldlog.model.message import Kind
from foldlog.ports.store import Capabilities
from foldlog.system import Resolved
from tests.unit.bank import Deposited, Open, Opened, Take, account, balances, decide, evolve, names


def bare(row: int | None, event: Deposited) -> int:
    return 0


def unannotated(row, event) -> int:
    return 0


def no_answer(row: int | None, event: Deposited):
    return 0


def of_commands(row: int | None, event: Open) -> int:
    return 0


def with_envelope(row: int | None, event: Recorded[Deposited]) -> int:
    return 0


async def async_fold(row: int | None, event: Deposited) -> int:
    return 0


async def async_decide(command: Open, state: int | None) -> list[Opened]:
    return []


async def async_key(event: Deposited) -> str:
    return ""


def evolve_recorded(state: int | None, event: Recorded[Opened]) -> int:
    return 0


def evolve_all(state: int | None, event: Recorded) -> int:
    return 0


def decide_nothing(command: int, state: int | None) -> list[Opened]:
    return []


def wrong_context(command: Open, state: int | None, ctx: int) -> list[Opened]:
    return []


async def sees(event: Opened) -> None:
    pass


async def sees_wrong_context(event: Opened, ctx: str) -> None:
    pass


async def sees_nothing() -> None:
    pass


def of_a_row(row: dict[str, int] | None, event: Opened) -> "Unknown":  # noqa: F821 - that is the fault
    return {}


@dataclass
class Person:
    name: str


def of_persons(row: Person | None, event: Opened) -> Person:
    return Person(event.owner)


def one_event(command: Open, state: object) -> Opened:
    return Opened(command.owner)


@event("account.opened")
class OpenedToo:
    owner: str


def two_names(row: int | None, event: Opened | OpenedToo) -> int:
    return 0


FAULTS = {
    "no part": ([object()], "is no part"),
    "bare function": ([bare], "decorator is missing"),
    "two deciders": (
        [account, Decider("account", decide, evolve, initial=None)],
        "two deciders of the category 'account'",
    ),
    "an event, not a list": (
        [Decider("a", one_event, evolve, initial=None)],
        r"return a list of events, list\[Opened\]",
    ),
    "two projections": (
        [balances, projection("balances")(bare)],
        "two projections, handlers or processes named 'balances'",
    ),
    "projection and handler": ([balances, handler("balances")(sees)], "two projections, handlers or processes named"),
    "no annotation": ([projection("p")(unannotated)], "annotate"),
    "no row type": ([projection("p")(no_answer)], "annotate what the fold returns"),
    "a command": ([projection("p")(of_commands)], "is no event"),
    "unknown name": ([projection("p")(of_a_row)], "cannot be resolved"),
    "no field to index": ([projection("p", indexes=("x",))(of_persons)], "no field 'x' to index"),
    "inline envelope": ([projection("p", inline=True)(with_envelope)], "before there is an envelope"),
    "inline of two": (
        [account, Decider("other", decide, evolve, initial=None), projection("p", inline=True)(bare)],
        "of the deciders account, other",
    ),
    "async fold": ([projection("p")(async_fold)], "only handlers are async"),
    "async key": ([projection("p", key=async_key)(bare)], "only handlers are async"),
    "async handler key": ([handler("p", key=async_key)(sees)], "only handlers are async"),
    "async decide": ([Decider("a", async_decide, evolve, initial=None)], "only handlers are async"),
    "evolve recorded": ([Decider("a", decide, evolve_recorded, initial=None)], "take the event alone"),
    "evolve everything": ([Decider("a", decide, evolve_all, initial=None)], "take the event alone"),
    "decide no command": ([Decider("a", decide_nothing, evolve, initial=None)], "is no command"),
    "wrong context": ([Decider("a", wrong_context, evolve, initial=None)], "can only be a Context"),
    "handler context": ([handler("h")(sees_wrong_context)], "can only be a Context"),
    "handler of nothing": ([handler("h")(sees_nothing)], "too few parameters"),
    "no function": ([Decider("a", None, evolve, initial=None)], "None"),
    "one name, two classes": ([projection("p")(two_names)], "stored name of two classes"),
    "upcast to nowhere": ([account, Upcast("account.opened", 7, dict)], "no listed event's version"),
}


@pytest.mark.parametrize(("parts", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_named(parts, words):
    with pytest.raises(Misconfigured, match=words):
        App("memory:", parts)


def test_all_faults_are_listed_at_once():
    with pytest.raises(Misconfigured) as caught:
        App("nowhere:", [object(), projection("p")(no_answer), balances, balances])
    assert len(caught.value.faults) == 4
    assert all(fault in caught.value.message for fault in caught.value.faults)


@pytest.mark.parametrize(
    "options", [{"lease": 0}, {"lease": float("nan")}, {"lease": float("inf")}, {"command_window": -1}]
)
def test_times_are_seconds(options):
    with pytest.raises(Misconfigured, match="seconds"):
        App("memory:", [account], **options)


def test_a_store_without_tags_takes_no_scope():
    store = MemoryStore(Kind)
    store.capabilities = Capabilities(tags=False)
    with mock.patch("foldlog.system.connect", return_value=store):
        App("memory:", [account])
        with pytest.raises(Misconfigured, match="'name' has a scope by tags"):
            App("memory:", [names])


def test_what_has_faults_makes_no_schemas():
    with pytest.raises(Misconfigured):
        Resolved([object()]).schemas()


def test_two_apps_in_one_process_do_not_see_each_other():
    async def main():
        one, two = App("memory:", [account, balances]), App("memory:", [account, names])
        async with one, two:
            await one.send(account, "1", Open("ann"))
            await two.send(names, "1", Take("x"))
            await one.settle()
            assert [event.stream async for event in two.read()] == ["name-1"]
            assert one.system.owner != two.system.owner

    asyncio.run(main())


def test_parts_take_what_they_say_and_sends_name_a_decider():
    assert Send(account, "1", Open("x")) == Send("account", "1", Open("x"))
    assert command("x")(type("X", (), {})).__name__ == "X"
