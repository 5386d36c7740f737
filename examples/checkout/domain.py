"""Orders, stock and payments. Nobody here knows who comes next: that is what the three other files say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from foldlog import Decider, Recorded, Rejected, Send, command, event, handler

# ---------------------------------------------------------------- orders


@event("order.placed")
class Placed:
    order: str
    product: str
    quantity: int
    amount: int


@event("order.taken-on")
class TakenOn:
    order: str


@event("order.confirmed")
class Confirmed:
    order: str


@event("order.confirmed-too-late")
class ConfirmedTooLate:
    order: str


@event("order.cancelled")
class Cancelled:
    order: str
    product: str
    why: str


@command("order.place")
class Place:
    order: str
    product: str
    quantity: int
    amount: int


@command("order.take-on")
class TakeOn:
    pass


@command("order.confirm")
class Confirm:
    pass


@command("order.cancel")
class Cancel:
    why: str


OrderEvent = Placed | TakenOn | Confirmed | ConfirmedTooLate | Cancelled


@dataclass(frozen=True)
class Order:
    placed: Placed
    status: str = "placed"


def decide_order(command: Place | TakeOn | Confirm | Cancel, order: Order | None) -> Sequence[OrderEvent]:
    match command:
        case Place(key, product, quantity, amount):
            return [] if order else [Placed(key, product, quantity, amount)]
        case _ if order is None:
            raise Rejected("order.unknown")
        case TakeOn():
            return [TakenOn(order.placed.order)]
        case Confirm() if order.status == "cancelled":
            return [ConfirmedTooLate(order.placed.order)]
        case Confirm():
            return [Confirmed(order.placed.order)]
        case Cancel(why):
            ended = order.status in {"confirmed", "cancelled"}
            return [] if ended else [Cancelled(order.placed.order, order.placed.product, why)]


def evolve_order(order: Order | None, event: OrderEvent) -> Order | None:
    match event:
        case Placed():
            return Order(event)
        case Confirmed():
            return replace(order, status="confirmed") if order else None
        case Cancelled():
            return replace(order, status="cancelled") if order else None
        case TakenOn() | ConfirmedTooLate():
            return order


order = Decider("order", decide_order, evolve_order, initial=None)

# ---------------------------------------------------------------- stock


@event("stock.received")
class Received:
    quantity: int


@event("stock.reserved")
class Reserved:
    order: str
    quantity: int
    amount: int


@event("stock.ran-out")
class RanOut:
    order: str


@event("stock.released")
class Released:
    order: str


@command("stock.receive")
class Receive:
    quantity: int


@command("stock.reserve")
class Reserve:
    order: str
    quantity: int
    amount: int


@command("stock.release")
class Release:
    order: str


@dataclass(frozen=True)
class Stock:
    free: int = 0
    held: Mapping[str, int] = field(default_factory=dict[str, int])


StockEvent = Received | Reserved | RanOut | Released


def decide_stock(command: Receive | Reserve | Release, stock: Stock) -> Sequence[StockEvent]:
    match command:
        case Receive(quantity):
            return [Received(quantity)]
        case Reserve(key, quantity, amount):
            return [Reserved(key, quantity, amount)] if quantity <= stock.free else [RanOut(key)]
        case Release(key):
            return [Released(key)] if key in stock.held else []


def evolve_stock(stock: Stock, event: StockEvent) -> Stock:
    match event:
        case Received(quantity):
            return replace(stock, free=stock.free + quantity)
        case Reserved(key, quantity):
            return Stock(stock.free - quantity, {**stock.held, key: quantity})
        case Released(key):
            others = {one: quantity for one, quantity in stock.held.items() if one != key}
            return Stock(stock.free + stock.held.get(key, 0), others)
        case RanOut():
            return stock


stock = Decider("stock", decide_stock, evolve_stock, initial=Stock())

# ---------------------------------------------------------------- payments


@event("payment.requested")
class Requested:
    order: str
    amount: int


@event("payment.captured")
class Captured:
    order: str
    amount: int


@event("payment.declined")
class Declined:
    order: str


@event("payment.withdrawn")
class Withdrawn:
    order: str


@event("payment.refunded")
class Refunded:
    order: str
    amount: int


@command("payment.request")
class Request:
    order: str
    amount: int


@command("payment.capture")
class Capture:
    pass


@command("payment.decline")
class Decline:
    pass


@command("payment.give-back")
class GiveBack:
    order: str


PaymentEvent = Requested | Captured | Declined | Withdrawn | Refunded


@dataclass(frozen=True)
class Payment:
    order: str = ""
    amount: int = 0
    taken: int = 0
    status: str = "none"


def decide_payment(command: Request | Capture | Decline | GiveBack, payment: Payment) -> Sequence[PaymentEvent]:
    match command, payment.status:
        case Request(key, amount), "none":
            return [Requested(key, amount)]
        case Capture(), "requested":
            return [Captured(payment.order, payment.amount)]
        case Capture(), "withdrawn" if payment.amount:  # the gateway was slow: nobody wants the money any more
            return [Captured(payment.order, payment.amount), Refunded(payment.order, payment.amount)]
        case Decline(), "requested":
            return [Declined(payment.order)]
        case GiveBack(key), "none" | "requested":
            return [Withdrawn(key)]
        case GiveBack(key), "captured":
            return [Refunded(key, payment.amount)]
        case _:
            return []


def evolve_payment(payment: Payment, event: PaymentEvent) -> Payment:
    match event:
        case Requested(key, amount):
            return Payment(key, amount, status="requested")
        case Captured(_, amount):
            return replace(payment, taken=amount, status="captured")
        case Declined():
            return replace(payment, status="declined")
        case Withdrawn(key):
            return replace(payment, order=key, status="withdrawn")
        case Refunded():
            return replace(payment, taken=0, status="refunded")


payment = Decider("payment", decide_payment, evolve_payment, initial=Payment())

# ---------------------------------------------------------------- the outside


class Answer(Enum):
    PAID = "paid"
    DECLINED = "declined"
    NONE = "none"


class Gateway:
    """What the payment gateway answers for an order; PAID where nothing is said."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}


def charging(gateway: Gateway) -> object:
    """The handler that asks the gateway."""

    @handler("charge")
    async def charge(event: Recorded[Requested]) -> Send | None:
        match gateway.answers.get(event.key, Answer.PAID):
            case Answer.PAID:
                return Send(payment, event.key, Capture())
            case Answer.DECLINED:
                return Send(payment, event.key, Decline())
            case Answer.NONE:
                return None

    return charge


DECIDERS: list[object] = [order, stock, payment]
PATIENCE = 60.0
