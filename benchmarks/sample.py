"""What every side stores: an event of five fields, about 150 bytes as JSON, and the envelope that Foldlog adds."""

from typing import NamedTuple

CORRELATION = "7d1f1d5c-2f0b-4c55-9f9b-0e6f5a8c2d10"
CAUSATION = "0192f7d4-58a1-8c3e-b6d0-4a7be0a5c9f2"
ACTOR = "user:ann@example.org"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HEADERS = {"channel": "web"}


class Line(NamedTuple):
    """The five fields: texts and a whole number, because the peer's JSON takes longest over everything else."""

    order: str
    customer: str
    sku: str
    quantity: int
    note: str


def line(number: int) -> Line:
    """The fields of the event with this number; the same number gives the same fields."""
    return Line(
        f"order-{number:09}",
        f"customer-{number * 7_919 % 10_007:07}",
        f"sku-{number * 104_729 % 997:04}-blue-xl",
        number % 9 + 1,
        "leave at the door, ring twice, thanks",
    )
