"""`foldlog processes`, and what other commands say of processes, on the command line."""

import asyncio
import json
import sys

import msgspec
import pytest

from foldlog.cli import program as cli
from foldlog.cli.target import find
from foldlog.flow.orchestrate import table_of
from foldlog.flow.timers import Alarm
from foldlog.ports.store import Batch, Put, RowKey

APP = """
from dataclasses import dataclass

from foldlog import App, Backoff, Decider, Rejected, Send, command, event
from foldlog.process import Accepted, Cancel, Process, Schedule, Step, Timer, saga
from foldlog.testing import FakeClock

@event("transfer.asked")
class Asked:
    source: str
    target: str
    amount: int

@event("transfer.overdue")
class Overdue:
    pass

@command("transfer.ask")
class Ask:
    source: str
    target: str
    amount: int

@event("account.moved")
class Moved:
    amount: int

@command("account.move")
class Move:
    amount: int

def decide(command: Move, balance: int) -> list[Moved]:
    if command.amount == 666:
        raise ValueError("broken")
    if balance + command.amount < 0 or command.amount == 13:
        raise Rejected("account.too-poor", "not enough")
    return [Moved(command.amount)]

def evolve(balance: int, event: Moved) -> int:
    return balance + event.amount

account = Decider("account", decide, evolve, initial=0)

def ask(command: Ask, there: bool) -> list[Asked]:
    return [Asked(command.source, command.target, command.amount)]

def asked(there: bool, event: Asked) -> bool:
    return True

order = Decider("order", ask, asked, initial=False)

@dataclass
class Transfer:
    target: str
    amount: int
    left: bool = False

def follow(state: Transfer | None, event: Asked | Accepted | Rejected | Overdue) -> Transfer | None:
    match event:
        case Asked(_, "nowhere", _):
            raise ValueError("no such account")
        case Asked(_, target, amount):
            return Transfer(target, amount)
        case Accepted() if state is not None and not state.left:
            return Transfer(state.target, state.amount, left=True)
        case Overdue():
            return state
    return None

def answer(event: Asked | Accepted | Overdue, state: Transfer | None) -> list[Send | Timer | Cancel]:
    match event, state:
        case Asked(source, _, amount), _:
            return [Send(account, source, Move(-amount)), Timer("late", Overdue(), after=0 if amount == 2 else 3600)]
        case Accepted(), Transfer(target, amount):
            return [Send(account, target, Move(amount))]
    return []

def then(event: Asked) -> Send | None:
    if event.target == "nobody":
        raise ValueError("nobody there")
    return Send(account, event.target, Move(event.amount)) if event.target != "held" else None

transfer = Process("transfer", answer, follow, None, retry=Backoff(2, 0.001, 0.001))
steps = saga("steps", [
    Step(do=lambda event: Send(account, event.source, Move(-event.amount)),
         undo=lambda event: Send(account, event.source, Move(13))),
    Step(do=then),
    Step(do=lambda event: Send(account, "x", Move(-100))),
], on=Asked, key=lambda event: f"s{event.target}" if event.amount > 1 else None, retry=Backoff(2, 0.001, 0.001))
daily = Schedule("daily", 86_400, Send(account, "interest", Move(1)))
app = App("URL", parts=[account, order, transfer, steps, daily])
"""
numbers = iter(range(1_000))


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    monkeypatch.delenv("FOLDLOG_APP", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture(scope="module")
def postgres(durable_postgres):
    """`doctor` looks at the server's settings."""
    return durable_postgres


@pytest.fixture(params=["sqlite", "postgres"])
def path(request, tmp_path):
    path = tmp_path / f"cli_processes_{next(numbers)}.py"
    on_server = request.param == "postgres"
    url = request.getfixturevalue("postgres_url")() if on_server else f"sqlite:{tmp_path}/x.db"
    path.write_text(APP.replace("URL", url))
    return str(path)


@pytest.fixture
def run(path, capsys):
    def run(*args, code=0):
        capsys.readouterr()
        assert cli.run([args[0], path, *args[1:]]) == code, capsys.readouterr().err
        return capsys.readouterr().out

    return run


@pytest.fixture
def failed(path, capsys):
    def failed(*args, code=3):
        capsys.readouterr()
        assert cli.run([args[0], path, *args[1:]]) == code
        return capsys.readouterr().err

    return failed


@pytest.fixture
def lines(run):
    return lambda *args: [json.loads(line) for line in run(*args, "--json").splitlines()]


def work(path, *asked):
    """Send commands and let everything come to rest."""
    module = find(path).module

    async def main():
        async with module.app as app:
            await app.settle()
            for number, (source, target, amount) in asked:
                await app.send(module.order, number, module.Ask(source, target, amount))
            await app.settle()

    asyncio.run(main())


def paid(path, *names):
    module = find(path).module

    async def main():
        async with module.app.open(functions=False) as app:
            for name in names:
                await app.send(module.account, name, module.Move(50))

    asyncio.run(main())


def test_processes_schedules_and_instances_are_listed(path, run, lines, failed):
    paid(path, "a")
    work(path, ("1", ("a", "b", 1)), ("2", ("c", "b", 1)))
    transfer, steps, daily = lines("processes", "list")
    assert transfer["process"] == "transfer"
    assert (transfer["instances"]["number"], transfer["timers"]["number"], transfer["due"]) == (0, 0, None)
    assert steps["instances"]["number"] == 0
    assert daily["schedule"] == "daily"
    assert daily["due"] > "2026"
    assert "transfer" in run("processes", "list")
    work(path, ("3", ("a", "666", 1)), ("4", ("a", "nowhere", 1)))
    told = {one["key"]: one for one in lines("processes", "list", "transfer")}
    assert list(told) == ["4"]
    assert told["4"]["state"] is None
    table = run("processes", "list", "transfer")
    assert table.split()[:4] == ["key", "events", "began", "changed"]
    assert "--stuck" in run("processes", "--help") + run("processes", "list", "--help")


def test_the_history_of_an_instance(path, run, lines, failed):
    paid(path, "a")
    work(path, ("1", ("a", "b", 1)))
    steps = lines("processes", "show", "transfer", "1")
    assert [one["type"] for one in steps] == ["transfer.asked", "foldlog.accepted", "foldlog.accepted"]
    assert steps[0]["state"] == {"target": "b", "amount": 1, "left": False}
    assert steps[0]["commands"] == [{"command": "account.move", "to": "account-a", "became": "accepted"}]
    assert [one["timer"] for one in steps[0]["timers"]] == ["late"]
    assert steps[2]["state"] is None
    shown = run("processes", "show", "transfer", "1")
    assert "sends account.move to account-b: accepted" in shown
    assert "sets the timer late: transfer.overdue at" in shown
    assert shown.rstrip().endswith("there is no instance now")
    work(path, ("2", ("poor", "b", 1)))
    (first, last) = lines("processes", "show", "transfer", "2")
    assert first["commands"][0]["became"] == "rejected: account.too-poor"
    assert (last["type"], last["event"]["message"]) == ("foldlog.rejected", "not enough")
    assert "no event was for '9'" in failed("processes", "show", "transfer", "9")


def test_an_instance_whose_fold_failed_is_retried_or_skipped(path, run, lines, failed):
    paid(path, "a")
    work(path, ("4", ("a", "nowhere", 1)), ("5", ("a", "nowhere", 1)))
    stuck = lines("processes", "list", "transfer", "--stuck")
    assert [one["key"] for one in stuck] == ["4", "5"]
    assert len(stuck[0]["dead_letters"]) == 1
    (step,) = lines("processes", "show", "transfer", "4")
    assert step["error"] == "ValueError: no such account"
    assert "failed: ValueError: no such account" in run("processes", "show", "transfer", "4")
    assert lines("processes", "retry", "transfer", "4") == [{"retried": 1}]
    assert "1 skipped" in run("processes", "skip", "transfer", "5")
    work(path)
    assert [one["key"] for one in lines("processes", "list", "transfer", "--stuck")] == ["4"]
    assert "waits for no operator" in failed("processes", "skip", "transfer", "5")
    assert "there is no process 'nothing'" in failed("processes", "retry", "nothing", "5")
    assert "name it" in failed("processes", "list", "--stuck", code=2)
    (letter,) = lines("dead-letters", "list", "--function", "transfer")
    assert (letter["function"], letter["key"]) == ("process.transfer", "4")
    assert "given(process" in failed("dead-letters", "show", letter["id"], "--as-test")


def test_a_saga_whose_undo_fails_waits_for_an_operator(path, run, lines, failed):
    paid(path, "a")
    work(path, ("7", ("a", "b", 5)))
    (stuck,) = lines("processes", "list", "steps", "--stuck")
    assert (stuck["key"], stuck["state"]["phase"]) == ("sb", "undoing")
    assert stuck["state"]["why"] == "account.too-poor: not enough"
    shown = run("processes", "show", "steps", "sb")
    assert "sends account.move to account-a: dead after 2 attempts" in shown
    assert run("processes", "skip", "steps", "sb") == "1 skipped\n"
    work(path)
    assert lines("processes", "list", "steps") == []
    last = lines("processes", "show", "steps", "sb")[-1]
    assert (last["type"], last["event"]["code"]) == ("foldlog.rejected", "foldlog.discarded")


def test_an_operator_cancels_an_instance(path, run, lines, failed):
    paid(path, "a")
    work(path, ("4", ("a", "nowhere", 1)), ("7", ("a", "b", 5)))
    assert run("processes", "cancel", "transfer", "4", "--why", "wrong", "--actor", "ann") == (
        "transfer 4 is cancelled, 1 dead letters given up\n"
    )
    assert lines("processes", "cancel", "steps", "sb") == [{"cancelled": True, "discarded": 1}]
    work(path)
    assert lines("processes", "list", "transfer", "--stuck") == lines("processes", "list", "steps") == []
    events = lines("events", "--stream", "transfer-4")
    assert (events[0]["type"], events[0]["data"]["why"]) == ("foldlog.cancelled", "wrong")
    assert "no instance 'unknown'" in failed("processes", "cancel", "transfer", "unknown")


def test_a_saga_that_cannot_take_an_answer_is_not_skipped_into_waiting_for_ever_but_cancelled(path, run, lines, failed):
    paid(path, "a")
    work(path, ("7", ("a", "nobody", 5)))
    (stuck,) = lines("processes", "list", "steps", "--stuck")
    assert (stuck["key"], stuck["state"]["phase"]) == ("snobody", "doing")
    told = failed("processes", "skip", "steps", "snobody")
    assert "foldlog.accepted" in told
    assert "would wait for it for ever" in told
    assert lines("processes", "cancel", "steps", "snobody") == [{"cancelled": True, "discarded": 1}]
    work(path)
    (stuck,) = lines("processes", "list", "steps", "--stuck")
    assert stuck["state"]["phase"] == "undoing"  # its undo is refused; see above
    run("processes", "skip", "steps", "snobody")
    work(path)
    assert lines("processes", "list", "steps") == []


def test_other_commands_know_processes(path, run, lines, failed):
    paid(path, "a")
    work(path, ("1", ("a", "b", 1)))
    assert "0 faults, 0 warnings: good to run" in run("check", "--strict")
    found = {one["function"]: one for one in lines("functions")}
    assert {"process.transfer", "process.steps"} <= found.keys()
    assert found["process.transfer"]["lag"]["number"] == 0
    tree = run("why", "order-1@1")
    assert "account-a@2 account.moved" in tree
    assert "process.transfer, command 1 of its answer" in tree
    assert "transfer-1@2 foldlog.accepted" in tree
    work(path, ("2", ("a", "b", 2)))
    tree = run("why", "order-2@1")
    assert "transfer.overdue at" in tree
    assert "process.transfer, timer 2 of its answer" in tree
    found = [one for one in lines("doctor") if one.get("check") == "processes" or "process.transfer" in str(one)]
    assert any("states of 0 instances can be read" in str(one) for one in found)


def test_doctor_finds_states_that_cannot_be_read_and_timers_that_should_have_rung(path, tmp_path, run, lines):
    async def main():
        module = find(path).module
        async with module.app.open(functions=False) as app:
            store = app.system.store
            row = Put(table_of("transfer"), RowKey("", "1"), b'{"state":{"target":1},"version":1}')
            alarm = Alarm(
                "process.transfer", 3, "id", "late", 5, "transfer-1", "transfer.overdue", 1, msgspec.Raw(b"{}")
            )
            await store.commit(Batch(rows=[row, alarm.put()]))

    asyncio.run(main())
    told = run("doctor", code=1)
    assert "process.transfer: the states of 1 instance include 1 that this code cannot read: '1'" in told
    assert "process.transfer: a timer has been due for" in told
