"""By orchestration: one saga has the whole in view; the others only do what they are told."""

from typing import Any

from examples.checkout.domain import (
    PATIENCE,
    Cancel,
    Captured,
    Confirm,
    Declined,
    GiveBack,
    Placed,
    RanOut,
    Release,
    Request,
    Reserve,
    Reserved,
    TakeOn,
    order,
    payment,
    stock,
)
from foldlog import Send
from foldlog.process import Step, saga


def of(event: Any) -> str:
    """The order that an event is about: all of them say so."""
    key: str = event.order
    return key


def reserve(placed: Placed) -> Send:
    return Send(stock, placed.product, Reserve(placed.order, placed.quantity, placed.amount))


def release(placed: Placed) -> Send:
    return Send(stock, placed.product, Release(placed.order))


def request(placed: Placed) -> Send:
    return Send(payment, placed.order, Request(placed.order, placed.amount))


def give_back(placed: Placed) -> Send:
    return Send(payment, placed.order, GiveBack(placed.order))


checkout = saga(
    "checkout",
    [
        Step(
            do=lambda placed: Send(order, placed.order, TakeOn()),
            undo=lambda placed: Send(order, placed.order, Cancel("it could not be done")),
        ),
        Step(do=reserve, done=Reserved, failed=RanOut, undo=release),
        Step(do=request, done=Captured, failed=Declined, undo=give_back, timeout=PATIENCE),
        Step(do=lambda placed: Send(order, placed.order, Confirm())),
    ],
    on=Placed,
    key=of,
)

ORCHESTRATION: list[object] = [checkout]
