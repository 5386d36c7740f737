"""Our read models: a row for each order, and a row for each line with two indexes."""

from dataclasses import dataclass

from benchmarks.ours import LineAdded
from foldlog import projection
from foldlog.model.projection import Projection


@dataclass(frozen=True, slots=True)
class Total:
    lines: int
    quantity: int
    last: str


@dataclass(frozen=True, slots=True)
class OneLine:
    customer: str
    sku: str
    quantity: int


def _total(row: Total | None, event: LineAdded) -> Total:
    if row is None:
        return Total(1, event.quantity, event.sku)
    return Total(row.lines + 1, row.quantity + event.quantity, event.sku)


def totals_named(name: str) -> Projection[Total, LineAdded]:
    """The same rows under another name, so that a log is folded once more."""
    return projection(name)(_total)


totals = totals_named("totals")


def _order(event: LineAdded) -> str:
    return event.order


@projection("lines", key=_order, indexes=("customer", "quantity"))
def lines(_row: OneLine | None, event: LineAdded) -> OneLine:
    return OneLine(event.customer, event.sku, event.quantity)
