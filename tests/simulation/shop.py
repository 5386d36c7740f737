"""The example shop, to be simulated: seven orders for four products of which there is too little."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

from examples.shop.notification import Sent, notification
from examples.shop.order import CancelOrder, Line, OrderPlaced, PlaceOrder, Reason, Status, order
from examples.shop.outside import Gateway, PostOffice
from examples.shop.payment import Captured, Refunded, payment
from examples.shop.shipment import shipment
from examples.shop.steps import STEPS, to_the_outside
from examples.shop.stock import Receive, stock
from examples.shop.views import VIEWS, order_status, revenue, stock_levels
from foldlog import Send
from foldlog.testing.simulation import Seen, Simulation

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
PRODUCTS = ("book", "pen", "ink", "map")


class Outside(NamedTuple):
    gateway: Gateway
    post: PostOffice


def outside() -> Outside:
    return Outside(Gateway(), PostOffice())


def shop(world: Outside) -> list[object]:
    deciders = [order, stock, payment, shipment, notification]
    return [*deciders, *STEPS, *to_the_outside(*world), *VIEWS]


def story(random: Random) -> Iterator[Send]:
    for product in PRODUCTS:
        yield Send(stock, product, Receive(random.randint(1, 6)))
    for number in range(random.randint(2, 7)):
        chosen = random.sample(PRODUCTS, random.randint(1, 2))
        lines = tuple(Line(product, random.randint(1, 3), Decimal("1.25")) for product in chosen)
        yield Send(order, str(number), PlaceOrder("ann", f"ann{number}@shop.example", lines, AT))
        if random.random() < 0.25:
            yield Send(order, str(random.randint(0, number)), CancelOrder(Reason.CUSTOMER))


def stock_is_never_negative(seen: Seen[Any]) -> None:
    for product, row in seen.rows(stock_levels).items():
        assert min(row.free, row.reserved, row.sold) >= 0, (product, row)


def the_money_is_the_gateway_s(seen: Seen[Outside]) -> None:
    captured = sum((event.amount for event in seen.of(Captured)), Decimal())
    returned = sum((event.amount for event in seen.of(Refunded)), Decimal())
    row = seen.rows(revenue).get("all")
    assert (row.amount if row else Decimal()) == captured - returned
    if not seen.dead_letters:
        assert sum(seen.world.gateway.taken.values()) == captured
        assert sum(seen.world.gateway.returned.values()) == returned


def every_order_ends_with_one_mail(seen: Seen[Outside]) -> None:
    if seen.dead_letters:
        return  # what an operator has to look at is not over
    rows = seen.rows(order_status)
    assert len(rows) == len(seen.of(OrderPlaced))
    assert all(row.status in {Status.SHIPPED, Status.CANCELLED} for row in rows.values()), rows
    assert len(seen.world.post.mails) == len(seen.of(Sent)) == len(rows)


INVARIANTS = [stock_is_never_negative, the_money_is_the_gateway_s, every_order_ends_with_one_mail]


def simulation(**options: Any) -> Simulation[Outside]:
    return Simulation(shop, story, INVARIANTS, world=outside, **options)
