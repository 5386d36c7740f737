"""Customers, made from a seed: the same seed, the same orders."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import NamedTuple

from examples.shop.order import Line, PlaceOrder

OPENING = datetime(2026, 3, 2, 9, tzinfo=UTC)
POISON = "nobody@nowhere.example"  # the address that the post office refuses
PRODUCTS = 150
SCARCE = 3  # the first few products run out


class Placed(NamedTuple):
    key: str
    command: PlaceOrder
    regretted: bool  # the customer will want to cancel


def product(number: int) -> str:
    return f"product-{number:03d}"


def price(number: int) -> Decimal:
    return Decimal(199 + 137 * number % 4800) / 100


def deliveries(orders: int) -> Iterator[tuple[str, int]]:
    """What is on the shelves on the first day: (product, quantity). Of the scarce ones there is too little."""
    for number in range(PRODUCTS):
        yield product(number), max(1, orders // 100) if number < SCARCE else orders


def traffic(orders: int, seed: int) -> Iterator[Placed]:
    """Orders of 1 to 3 lines over a week; the poison address stands in the third one."""
    random = Random(seed)
    for number in range(orders):
        numbers = random.sample(range(PRODUCTS), random.choice((1, 1, 2, 3)))
        if random.random() < 0.05:
            numbers = sorted({*numbers, random.randrange(SCARCE)})
        lines = tuple(Line(product(one), random.randint(1, 3), price(one)) for one in numbers)
        customer = f"customer-{random.randrange(orders // 4 + 1):05d}"
        email = POISON if number == 2 else f"{customer}@shop.example"
        moment = OPENING + timedelta(days=7) * number / orders
        yield Placed(f"{number:06d}", PlaceOrder(customer, email, lines, moment), random.random() < 0.02)
