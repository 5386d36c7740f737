"""The purchase orders in one App, and what its read models say."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from examples.purchase_orders.deviations import off_the_path, purchase_order
from examples.purchase_orders.views import VIEWS, activities, deviations, invoices, orders, rework, waits
from foldlog import App, Found
from foldlog.limits import FIND_MAX
from foldlog.model.projection import Projection

R = TypeVar("R")


def open_orders(url: str) -> App:
    return App(url, [purchase_order, off_the_path, *VIEWS])


async def rows(app: App, view: Projection[R, Any]) -> AsyncIterator[Found[R]]:
    """Every row of a read model, page by page."""
    page = await app.find(view, limit=FIND_MAX // 10)
    while page:
        for found in page:
            yield found
        page = await app.find(view, limit=FIND_MAX // 10, after=page[-1])


async def figures(app: App) -> dict[str, int]:
    """What the read models say, as numbers with names."""
    found: Counter[str] = Counter()
    async for order in rows(app, orders):
        found["orders"] += 1
        found["events"] += order.value.events
        found[f"status: {order.value.status.value}"] += 1
        found["age of all orders, seconds"] += order.value.age
    async for wait in rows(app, waits):
        for step, between in wait.value.steps.items():
            found[f"times: {step}"] += between.times
            found[f"seconds: {step}"] += between.seconds
    async for done in rows(app, rework):
        found["events that repeat an activity"] += done.value.repeated
        found["orders with rework"] += done.value.repeated > 0
    async for bills in rows(app, invoices):
        found["open invoices"] += max(0, bills.value.open)
        found["orders with open invoices"] += bills.value.open > 0
        found["orders cleared more often than invoiced"] += bills.value.open < 0
    async for activity in rows(app, activities):
        found[f"activity: {activity.key}"] = activity.value
    async for kind in rows(app, deviations):
        found[f"off the path: {kind.key}"] = kind.value
    return dict(found)


app = open_orders("sqlite:purchase-orders.db")

if __name__ == "__main__":
    app.run()
