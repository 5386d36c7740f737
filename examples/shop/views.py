"""The read models. Each is a fold; a row is plain data."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from examples.shop.order import (
    OrderCancelled,
    OrderPaid,
    OrderPlaced,
    OrderReady,
    OrderShipped,
    Reason,
    Status,
)
from examples.shop.payment import Captured, Refunded
from examples.shop.stock import Received, Released, Reserved, TakenOut
from foldlog import Recorded, projection


@dataclass(frozen=True, slots=True)
class OrderRow:
    status: Status
    customer: str
    total: Decimal
    placed_at: datetime
    tracking: str = ""
    reason: Reason | None = None


@projection("order-status", indexes=("status", "customer"), inline=True)
def order_status(
    row: OrderRow | None, event: OrderPlaced | OrderReady | OrderPaid | OrderShipped | OrderCancelled
) -> OrderRow:
    """Committed together with the events: who has placed an order sees it at once."""
    if isinstance(event, OrderPlaced):
        return OrderRow(Status.PLACED, event.customer, event.total, event.placed_at)
    if row is None:
        raise ValueError("an order begins with order.placed")
    match event:
        case OrderReady():
            return replace(row, status=Status.READY)
        case OrderPaid():
            return replace(row, status=Status.PAID)
        case OrderShipped(tracking):
            return replace(row, status=Status.SHIPPED, tracking=tracking)
        case OrderCancelled(reason):
            return replace(row, status=Status.CANCELLED, reason=reason)


@dataclass(frozen=True, slots=True)
class StockRow:
    free: int = 0
    reserved: int = 0
    sold: int = 0


@projection("stock-levels", indexes=("free", "sold"))
def stock_levels(row: StockRow | None, event: Received | Reserved | Released | TakenOut) -> StockRow:
    row = row or StockRow()
    match event:
        case Received(quantity):
            return replace(row, free=row.free + quantity)
        case Reserved(quantity=quantity):
            return replace(row, free=row.free - quantity, reserved=row.reserved + quantity)
        case Released(quantity=quantity):
            return replace(row, free=row.free + quantity, reserved=row.reserved - quantity)
        case TakenOut(quantity=quantity):
            return replace(row, reserved=row.reserved - quantity, sold=row.sold + quantity)


@dataclass(frozen=True, slots=True)
class SalesRow:
    pieces: int = 0
    amount: Decimal = Decimal()


def by_day_and_product(event: Recorded[TakenOut]) -> str:
    return f"{event.data.day}/{event.key}"


@projection("sales", key=by_day_and_product)
def sales(row: SalesRow | None, event: TakenOut) -> SalesRow:
    row = row or SalesRow()
    return SalesRow(row.pieces + event.quantity, row.amount + event.amount)


@dataclass(frozen=True, slots=True)
class RevenueRow:
    payments: int = 0
    refunds: int = 0
    amount: Decimal = Decimal()


@projection("revenue", key=lambda _: "all")
def revenue(row: RevenueRow | None, event: Captured | Refunded) -> RevenueRow:
    row = row or RevenueRow()
    match event:
        case Captured(amount):
            return replace(row, payments=row.payments + 1, amount=row.amount + amount)
        case Refunded(amount):
            return replace(row, refunds=row.refunds + 1, amount=row.amount - amount)


def by_type(event: Recorded[Any]) -> str:
    return event.type


@projection("counts", key=by_type)
def counts(row: int | None, event: Recorded[Any]) -> int:
    """How many events of each type there are, in the whole log."""
    return (row or 0) + 1


VIEWS: list[object] = [order_status, stock_levels, sales, revenue, counts]
