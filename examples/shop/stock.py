"""The stock of one product: what lies on the shelf, and which order has reserved how much of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from foldlog import Decider, Rejected, command, event


@event("stock.received")
class Received:
    quantity: int


@event("stock.reserved", tags=("order",))
class Reserved:
    order: str
    quantity: int


@event("stock.ran-out", tags=("order",))
class RanOut:
    order: str
    asked: int
    free: int


@event("stock.released", tags=("order",))
class Released:
    order: str
    quantity: int


@event("stock.taken-out", tags=("order",))
class TakenOut:
    order: str
    quantity: int
    amount: Decimal
    day: date


Event = Received | Reserved | RanOut | Released | TakenOut


@command("stock.receive")
class Receive:
    quantity: int


@command("stock.reserve")
class Reserve:
    order: str
    quantity: int


@command("stock.release")
class Release:
    order: str


@command("stock.take-out")
class TakeOut:
    order: str
    price: Decimal
    day: date


Command = Receive | Reserve | Release | TakeOut


@dataclass(frozen=True, slots=True)
class State:
    free: int = 0
    reserved: Mapping[str, int] = field(default_factory=dict[str, int])


def decide(command: Command, state: State) -> Sequence[Event]:
    match command:
        case Receive(quantity):
            if quantity < 1:
                raise Rejected("stock.nothing-received", "a delivery has a quantity from 1")
            return [Received(quantity)]
        case Reserve(order, quantity):
            if order in state.reserved:
                return []
            return [Reserved(order, quantity)] if quantity <= state.free else [RanOut(order, quantity, state.free)]
        case Release(order):
            return [Released(order, state.reserved[order])] if order in state.reserved else []
        case TakeOut(order, price, day):
            quantity = state.reserved.get(order, 0)
            if not quantity:
                raise Rejected("stock.not-reserved", f"order {order} has reserved nothing here")
            return [TakenOut(order, quantity, price * quantity, day)]


def evolve(state: State, event: Event) -> State:
    match event:
        case Received(quantity):
            return State(state.free + quantity, state.reserved)
        case Reserved(order, quantity):
            return State(state.free - quantity, {**state.reserved, order: quantity})
        case Released(order, quantity):
            return State(state.free + quantity, without(state.reserved, order))
        case TakenOut(order):
            return State(state.free, without(state.reserved, order))
        case RanOut():
            return state


def without(reserved: Mapping[str, int], order: str) -> Mapping[str, int]:
    return {key: quantity for key, quantity in reserved.items() if key != order}


stock = Decider("stock", decide, evolve, initial=State())
