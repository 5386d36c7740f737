"""The read models of the purchase orders."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from examples.purchase_orders.deviations import Deviated
from examples.purchase_orders.events import (
    Event,
    GoodsReceived,
    InvoiceCancelled,
    InvoiceCleared,
    InvoiceReceived,
    OrderCreated,
    OrderDeleted,
    OrderReactivated,
    ServiceRecorded,
    activity_of,
)
from foldlog import Recorded, projection


class Status(Enum):
    REQUESTED = "1 requested"
    ORDERED = "2 ordered"
    DELIVERED = "3 delivered"
    INVOICED = "4 invoiced"
    CLEARED = "5 cleared"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class OrderRow:
    status: Status
    furthest: Status  # how far it came, deleted or not
    first: datetime
    last: datetime
    events: int

    @property
    def age(self) -> int:
        """Seconds from its first event to its last."""
        return int((self.last - self.first).total_seconds())


@projection("orders", indexes=("status", "first"))
def orders(row: OrderRow | None, event: Recorded[Event]) -> OrderRow:
    """Status and age of every order."""
    at, data = event.occurred, event.data
    row = row or OrderRow(Status.REQUESTED, Status.REQUESTED, at, at, 0)
    furthest = max(row.furthest, reached(data), key=lambda status: status.value)
    deleted = isinstance(data, OrderDeleted) or (
        row.status is Status.DELETED and not isinstance(data, OrderReactivated)
    )
    return OrderRow(Status.DELETED if deleted else furthest, furthest, row.first, at, row.events + 1)


def reached(event: Event) -> Status:
    match event:
        case OrderCreated():
            return Status.ORDERED
        case GoodsReceived() | ServiceRecorded():
            return Status.DELIVERED
        case InvoiceReceived():
            return Status.INVOICED
        case InvoiceCleared():
            return Status.CLEARED
        case _:
            return Status.REQUESTED


@dataclass(frozen=True, slots=True)
class Wait:
    times: int
    seconds: int


@dataclass(frozen=True, slots=True)
class WaitRow:
    activity: str
    at: datetime
    steps: dict[str, Wait] = field(default_factory=dict[str, Wait])  # "from > to"


@projection("waits")
def waits(row: WaitRow | None, event: Recorded[Event]) -> WaitRow:
    """The time between one step and the next, for every order."""
    at, activity = event.occurred, activity_of(event.data)
    if row is None:
        return WaitRow(activity, at)
    step = f"{row.activity} > {activity}"
    before = row.steps.get(step, Wait(0, 0))
    wait = Wait(before.times + 1, before.seconds + int((at - row.at).total_seconds()))
    return WaitRow(activity, at, {**row.steps, step: wait})


@dataclass(frozen=True, slots=True)
class ReworkRow:
    activities: dict[str, int] = field(default_factory=dict[str, int])
    repeated: int = 0


@projection("rework", indexes=("repeated",))
def rework(row: ReworkRow | None, event: Event) -> ReworkRow:
    """How often each activity was done in an order, and how many of them were not the first of their kind."""
    row = row or ReworkRow()
    activity = activity_of(event)
    before = row.activities.get(activity, 0)
    return ReworkRow({**row.activities, activity: before + 1}, row.repeated + (before > 0))


@dataclass(frozen=True, slots=True)
class InvoicesRow:
    received: int = 0
    closed: int = 0
    open: int = 0


@projection("invoices", indexes=("open",))
def invoices(row: InvoicesRow | None, event: InvoiceReceived | InvoiceCancelled | InvoiceCleared) -> InvoicesRow:
    """Invoices received and not yet cleared or cancelled; below zero where one was cleared that never came."""
    row = row or InvoicesRow()
    if isinstance(event, InvoiceReceived):
        return replace(row, received=row.received + 1, open=row.open + 1)
    return replace(row, closed=row.closed + 1, open=row.open - 1)


@projection("activities", key=activity_of)
def activities(row: int | None, event: Event) -> int:
    """How many events of each activity."""
    return (row or 0) + 1


@projection("deviations", key=lambda event: event.kind.value)
def deviations(row: int | None, event: Deviated) -> int:
    """How many orders left the normal path, by kind."""
    return (row or 0) + 1


VIEWS: list[object] = [orders, waits, rework, invoices, activities, deviations]
