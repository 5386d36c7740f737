"""The order: from placed to shipped or cancelled. It hears from the others only through commands."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import Enum

from foldlog import Decider, Rejected, command, event


class Status(Enum):
    NONE = "none"
    PLACED = "placed"
    READY = "ready"
    PAID = "paid"
    SHIPPED = "shipped"
    CANCELLED = "cancelled"


class Reason(Enum):
    OUT_OF_STOCK = "out of stock"
    PAYMENT_DECLINED = "payment declined"
    CUSTOMER = "customer"


@dataclass(frozen=True, slots=True)
class Line:
    product: str
    quantity: int
    price: Decimal

    @property
    def amount(self) -> Decimal:
        return self.price * self.quantity


# ---------------------------------------------------------------- events


@event("order.placed", tags=("customer",))
class OrderPlaced:
    customer: str
    email: str
    lines: tuple[Line, ...]
    total: Decimal
    placed_at: datetime


@event("order.line-confirmed")
class LineConfirmed:
    product: str


@event("order.line-confirmed-too-late")
class LineConfirmedTooLate:
    product: str


@event("order.ready")
class OrderReady:
    total: Decimal


@event("order.paid")
class OrderPaid:
    reference: str
    lines: tuple[Line, ...]
    placed_at: datetime


@event("order.paid-too-late")
class OrderPaidTooLate:
    reference: str


@event("order.shipped")
class OrderShipped:
    tracking: str
    email: str


@event("order.cancelled")
class OrderCancelled:
    reason: Reason
    release: tuple[str, ...]  # the products that were reserved already
    email: str


Event = (
    OrderPlaced
    | LineConfirmed
    | LineConfirmedTooLate
    | OrderReady
    | OrderPaid
    | OrderPaidTooLate
    | OrderShipped
    | OrderCancelled
)

# ---------------------------------------------------------------- commands


@command("order.place")
class PlaceOrder:
    customer: str
    email: str
    lines: tuple[Line, ...]
    placed_at: datetime


@command("order.confirm-line")
class ConfirmLine:
    product: str


@command("order.mark-paid")
class MarkPaid:
    reference: str


@command("order.mark-shipped")
class MarkShipped:
    tracking: str


@command("order.cancel")
class CancelOrder:
    reason: Reason


Command = PlaceOrder | ConfirmLine | MarkPaid | MarkShipped | CancelOrder

# ---------------------------------------------------------------- the decider


@dataclass(frozen=True, slots=True)
class State:
    status: Status = Status.NONE
    placed: OrderPlaced | None = None
    confirmed: tuple[str, ...] = ()


def decide(command: Command, state: State) -> Sequence[Event]:
    if isinstance(command, PlaceOrder):
        return place(command, state)
    if state.placed is None:
        raise Rejected("order.unknown", "there is no such order")
    match command:
        case ConfirmLine(product):
            return confirm(product, state.placed, state)
        case MarkPaid(reference):
            if state.status is Status.CANCELLED:
                return [OrderPaidTooLate(reference)]
            return [OrderPaid(reference, state.placed.lines, state.placed.placed_at)]
        case MarkShipped(tracking):
            return [OrderShipped(tracking, state.placed.email)]
        case CancelOrder(reason):
            return cancel(reason, state.placed, state)


def place(command: PlaceOrder, state: State) -> Sequence[Event]:
    if state.status is not Status.NONE:
        raise Rejected("order.already-placed", "this order was placed before")
    if not command.lines or any(line.quantity < 1 or line.price < 0 for line in command.lines):
        raise Rejected("order.empty", "an order has lines, and each line a quantity from 1")
    if len({line.product for line in command.lines}) < len(command.lines):
        raise Rejected("order.product-twice", "write each product once")
    total = sum((line.amount for line in command.lines), Decimal())
    return [OrderPlaced(command.customer, command.email, command.lines, total, command.placed_at)]


def confirm(product: str, placed: OrderPlaced, state: State) -> Sequence[Event]:
    if state.status is Status.CANCELLED:
        return [LineConfirmedTooLate(product)]
    if product in state.confirmed:
        return []
    if len(state.confirmed) + 1 < len(placed.lines):
        return [LineConfirmed(product)]
    return [LineConfirmed(product), OrderReady(placed.total)]


def cancel(reason: Reason, placed: OrderPlaced, state: State) -> Sequence[Event]:
    match state.status:
        case Status.CANCELLED:
            return []
        case Status.PAID | Status.SHIPPED:
            raise Rejected(
                f"order.already-{state.status.value}",
                f"the order is {state.status.value}: it can be sent back, not cancelled",
                {"status": state.status.value, "reason": reason.value},
            )
        case _:
            return [OrderCancelled(reason, state.confirmed, placed.email)]


def evolve(state: State, event: Event) -> State:
    match event:
        case OrderPlaced():
            return State(Status.PLACED, event)
        case LineConfirmed(product):
            return replace(state, confirmed=(*state.confirmed, product))
        case OrderReady():
            return replace(state, status=Status.READY)
        case OrderPaid():
            return replace(state, status=Status.PAID)
        case OrderShipped():
            return replace(state, status=Status.SHIPPED)
        case OrderCancelled():
            return replace(state, status=Status.CANCELLED)
        case LineConfirmedTooLate() | OrderPaidTooLate():
            return state


order = Decider("order", decide, evolve, initial=State())
