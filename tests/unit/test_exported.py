"""Stored events in tests: lines of an export, with their envelope."""

import asyncio
from datetime import UTC, datetime

import pytest

from foldlog import App, Context, Decider, Recorded, Upcast, handler
from foldlog import event as stored_event
from foldlog.errors import Invalid, Misconfigured, Undecodable
from foldlog.model.cloudevents import to_line
from foldlog.model.principal import Principal
from foldlog.testing import FakeClock, exported, given
from tests.unit.bank import Deposit, Deposited, Open, Opened, account, balances


@stored_event("account.opened", version=2)
class Named:
    name: str


@handler("tell")
async def tell(event: Recorded[Opened | Deposited], ctx: Context) -> None:
    told.append((event, ctx))


told: list[tuple[Recorded[Opened | Deposited], Context]] = []
app = App("memory:", [account, balances, tell])


@pytest.fixture(scope="module")
def lines():
    async def fill():
        source = App("memory:", app.parts, clock=FakeClock(datetime(2026, 5, 1, tzinfo=UTC)))
        async with source.open(functions=False):
            await source.send(account, "17", Open("Ann"), principal=Principal("ann"), correlation="c-1")
            await source.send(account, "17", Deposit(5), headers={"via": "web"}, tenant="")
            return [(event, to_line(event).decode()) async for event in source.read()]

    return asyncio.run(fill())


def test_an_exported_event_has_its_whole_envelope(lines):
    for event, line in lines:
        read = exported(app, line)
        for name in ("position", "stream", "version", "type", "time", "id", "headers", "log", "data", "recorded"):
            assert getattr(read, name) == getattr(event, name), name
        assert (read.meta.correlation, read.meta.actor) == (event.meta.correlation, event.meta.actor)


def test_parts_take_exported_events_as_history_and_as_input(lines):
    opened, deposited = (exported(app, line) for _, line in lines)
    given(account, opened, key="17").when(Deposit(2)).then(Deposited(2))
    given(balances, deposited).when(deposited).then(10)
    told.clear()
    given(tell).when(opened).then_nothing()
    ((event, ctx),) = told
    assert event is opened
    assert (ctx.principal.actor, ctx.correlation, ctx.recorded) == ("ann", "c-1", opened)
    assert ctx.id == f"handler.tell:{opened.id}"


def test_an_event_that_the_part_does_not_take_is_refused(lines):
    @handler("opened")
    async def only_opened(event: Opened) -> None: ...

    with pytest.raises(Invalid, match="takes no"):
        given(only_opened).when(exported(app, lines[1][1]))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda line: line.replace('"1.0"', '"0.3"'), Invalid),
        (lambda line: line[:-5], Invalid),
        (lambda line: line.replace("account.deposited", "account.unknown"), Undecodable),
        (lambda line: line.replace('"amount":5', '"amount":"five"'), Undecodable),
    ],
)
def test_what_is_no_event_of_this_app_is_refused(lines, change, error):
    with pytest.raises(error):
        exported(app, change(lines[1][1]))


def test_an_app_that_cannot_be_made_says_why(lines):
    poor = App("memory:", [])
    poor.parts = (print,)
    with pytest.raises(Misconfigured, match="is no part"):
        exported(poor, lines[0][1])


def test_old_events_are_upcast_by_the_app_s_steps(lines):
    newer = _newer()
    old = App("memory:", [newer, Upcast("account.opened", 1, lambda body: {"name": body["owner"]})])
    assert exported(old, lines[0][1]).data.name == "Ann"


def _newer():
    return Decider("account", _decide, _evolve, initial=False)


def _decide(command: Open, state: bool) -> list[Named]:
    return [Named(command.owner)]


def _evolve(state: bool, event: Named) -> bool:
    return True
