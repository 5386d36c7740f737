"""By choreography: everybody listens to the others, and nobody has the whole in view."""

from examples.checkout.domain import (
    PATIENCE,
    Cancel,
    Cancelled,
    Captured,
    Confirm,
    Confirmed,
    ConfirmedTooLate,
    Declined,
    GiveBack,
    Placed,
    RanOut,
    Release,
    Request,
    Reserve,
    Reserved,
    order,
    payment,
    stock,
)
from foldlog import Send, event, handler
from foldlog.process import Cancel as CancelTimer
from foldlog.process import Process, Timer


@handler("reserve")
async def reserve(event: Placed) -> Send:
    return Send(stock, event.product, Reserve(event.order, event.quantity, event.amount))


@handler("request")
async def request(event: Reserved) -> Send:
    return Send(payment, event.order, Request(event.order, event.amount))


@handler("confirm")
async def confirm(event: Captured) -> Send:
    return Send(order, event.order, Confirm())


@handler("give-up")
async def give_up(event: RanOut | Declined) -> Send:
    return Send(order, event.order, Cancel("out of stock" if isinstance(event, RanOut) else "declined"))


@handler("undo")
async def undo(event: Cancelled | ConfirmedTooLate) -> list[Send]:
    back = Send(payment, event.order, GiveBack(event.order))
    return [Send(stock, event.product, Release(event.order)), back] if isinstance(event, Cancelled) else [back]


# Handlers have no clock. Whoever keeps the time is one more who listens: a process with nothing but a timer.


@event("order.overdue")
class Overdue:
    order: str


def waits(waiting: bool | None, event: Placed | Overdue | Confirmed | Cancelled) -> bool | None:
    return True if isinstance(event, Placed) else None


def remind(event: Placed | Overdue | Confirmed | Cancelled, waiting: bool | None) -> list[Send | Timer | CancelTimer]:
    match event:
        case Placed(key):
            return [Timer("overdue", Overdue(key), after=PATIENCE)]
        case Overdue(key):
            return [Send(order, key, Cancel("took too long"))]
        case Confirmed() | Cancelled():
            return []


deadline = Process("deadline", remind, waits, initial=None)

CHOREOGRAPHY: list[object] = [reserve, request, confirm, give_up, undo, deadline]
