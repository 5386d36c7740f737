"""Processes as a user writes them: both type checkers must take all of it, and check what a `match` covers."""

from dataclasses import dataclass
from typing import Any, assert_never, assert_type

from foldlog import App, Recorded, Rejected, Send, command, event
from foldlog.process import Accepted, Cancel, Cancelled, Process, Saga, Schedule, Step, Timer, saga
from foldlog.testing import given


@event("transfer.asked")
class Asked:
    source: str
    amount: int


@event("transfer.slow")
class Slow:
    pass


@command("account.move")
class Move:
    amount: int


@dataclass(frozen=True)
class Transfer:
    amount: int


def follow(transfer: Transfer | None, event: Asked | Accepted | Rejected | Slow) -> Transfer | None:
    match event:
        case Asked(_, amount):
            return Transfer(amount)
        case Accepted() | Slow():
            return transfer
        case Rejected(code="account.too-poor"):
            return None
        case Rejected():
            return transfer
        case _:
            assert_never(event)


def answer(event: Asked | Slow, transfer: Transfer | None) -> list[Send | Timer | Cancel]:
    match event:
        case Asked(source, amount):
            return [Send("account", source, Move(-amount)), Timer("slow", Slow(), after=60)]
        case Slow():
            return [Cancel("slow")]


def by_envelope(count: int, event: Recorded[Asked | Cancelled]) -> int:
    return count + event.version


def one_answer(event: Recorded[Asked], count: int) -> Send | None:
    return None


transfer = Process("transfer", answer, follow, initial=None, key=lambda one: one.source)
counted = Process("counted", one_answer, by_envelope, initial=0)
steps = saga("steps", [Step(do=lambda one: Send("account", one.source, Move(1)))], on=Asked)
daily = Schedule("daily", 86_400, lambda due: Send("account", f"{due:%F}", Move(1)))
app = App("memory:", [transfer, counted, steps, daily])


def tests() -> None:
    found = given(transfer, Asked("a", 5)).when(Accepted(Move(-5)))
    found.then(Send("account", "b", Move(5)))
    found.then_state(Transfer(5))
    given(transfer).when(Rejected("account.too-poor", command=Move(5))).then_nothing()
    given(counted, Asked("a", 5)).when(Asked("b", 1)).then_state(3)
    assert_type(steps, Process[Saga[Asked] | None, Any])
