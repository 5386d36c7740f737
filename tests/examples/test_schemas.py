"""The examples keep lock files of their own: each is up to date, and every shape in it is read and folded."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from examples.bank import app as bank
from examples.checkout.checkout import app as checkout
from examples.purchase_orders.orders import open_orders
from examples.shop.order import Line, OrderPlaced
from examples.shop.shop import app as shop
from examples.shop.views import order_status
from foldlog.model.changes import compare
from foldlog.model.history import FILE, read_history
from foldlog.system import Resolved
from foldlog.testing import fold_history

EXAMPLES = Path(__file__).parents[2] / "examples"
PLACED = OrderPlaced(
    "Ann", "ann@example.org", (Line("tea", 2, Decimal(3)),), Decimal(6), datetime(2026, 1, 2, tzinfo=UTC)
)
APPS = {
    "bank": (bank, EXAMPLES / FILE, {}),
    "checkout": (checkout, EXAMPLES / "checkout" / FILE, {}),
    "shop": (shop, EXAMPLES / "shop" / FILE, {order_status: [PLACED]}),
    "purchase orders": (open_orders("memory:"), EXAMPLES / "purchase_orders" / FILE, {}),
}


@pytest.mark.parametrize(("app", "file", "after"), APPS.values(), ids=APPS.keys())
def test_the_lock_file_is_up_to_date_and_every_shape_in_it_is_read_and_folded(app, file, after):
    changes = compare(read_history(file.read_bytes()), Resolved(app.parts).schemas())
    assert {one.status for one in changes} == {"unchanged"}
    assert fold_history(app, file, after=after, examples=20) == len(changes)
