"""Mixed: stock and orders listen to each other; paying, which takes time and may fail, has a process of its own."""

from dataclasses import dataclass

from examples.checkout.choreography import Overdue, reserve
from examples.checkout.domain import (
    PATIENCE,
    Cancel,
    Cancelled,
    Captured,
    Confirm,
    Declined,
    GiveBack,
    RanOut,
    Release,
    Request,
    Reserved,
    order,
    payment,
    stock,
)
from foldlog import Send, handler
from foldlog.process import Cancel as CancelTimer
from foldlog.process import Process, Timer


@handler("sold-out")
async def sold_out(event: RanOut) -> Send:
    return Send(order, event.order, Cancel("out of stock"))


@handler("put-back")
async def put_back(event: Cancelled) -> Send:
    return Send(stock, event.product, Release(event.order))


@dataclass(frozen=True)
class Paying:
    order: str


Heard = Reserved | Captured | Declined | Overdue


def follow(paying: Paying | None, event: Heard) -> Paying | None:
    return Paying(event.order) if isinstance(event, Reserved) else None


def answer(event: Heard, paying: Paying | None) -> list[Send | Timer | CancelTimer]:
    match event:
        case Reserved(key, _, amount):
            return [Send(payment, key, Request(key, amount)), Timer("overdue", Overdue(key), after=PATIENCE)]
        case Captured(key):
            return [Send(order, key, Confirm())]
        case Declined(key):
            return [Send(order, key, Cancel("declined"))]
        case Overdue(key):
            return [Send(payment, key, GiveBack(key)), Send(order, key, Cancel("took too long"))]


paying = Process("paying", answer, follow, initial=None, key=lambda event: event.order)

MIXED: list[object] = [reserve, sold_out, put_back, paying]
