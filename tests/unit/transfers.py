"""The small domain of the tests of processes: money goes from one account to another."""

from dataclasses import dataclass

from foldlog import Decider, Rejected, Send, command, event
from foldlog.process import Accepted, Cancel, Process, Timer


@event("transfer.requested")
class Requested:
    source: str
    target: str
    amount: int


@event("transfer.overdue")
class Overdue:
    target: str


@command("transfer.request")
class Request:
    source: str
    target: str
    amount: int


@event("account.moved")
class Moved:
    amount: int


@command("account.move")
class Move:
    amount: int


def decide_request(command: Request, there: bool) -> list[Requested]:
    return [] if there else [Requested(command.source, command.target, command.amount)]


def evolve_request(there: bool, event: Requested) -> bool:
    return True


requests = Decider("request", decide_request, evolve_request, initial=False)


def decide_move(command: Move, balance: int) -> list[Moved]:
    if balance + command.amount < 0:
        raise Rejected("account.too-poor", f"only {balance}", {"balance": balance})
    return [Moved(command.amount)]


def evolve_move(balance: int, event: Moved) -> int:
    return balance + event.amount


account = Decider("account", decide_move, evolve_move, initial=0)


@dataclass
class Transfer:
    source: str
    target: str
    amount: int
    withdrawn: bool = False


def evolve(state: Transfer | None, event: Requested | Accepted | Rejected | Overdue) -> Transfer | None:
    match event:
        case Requested(source, target, amount):
            return Transfer(source, target, amount)
        case Accepted() if state is not None and not state.withdrawn:
            return Transfer(state.source, state.target, state.amount, withdrawn=True)
        case Overdue():
            return state
    return None


def react(event: Requested | Accepted | Rejected | Overdue, state: Transfer | None) -> list[Send | Timer | Cancel]:
    match event:
        case Requested(source, _, amount):
            return [Send(account, source, Move(-amount)), Timer("late", Overdue(event.target), after=60)]
        case Accepted() if state is not None:
            return [Send(account, state.target, Move(state.amount)), Cancel("late")]
    return []


transfer = Process("transfer", react, evolve, initial=None)
