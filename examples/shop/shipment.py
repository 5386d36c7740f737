"""The parcel of one order."""

from collections.abc import Sequence
from datetime import date

from examples.shop.order import Line
from foldlog import Decider, command, event


@event("shipment.dispatched")
class Dispatched:
    tracking: str
    lines: tuple[Line, ...]
    day: date


@command("shipment.dispatch")
class Dispatch:
    tracking: str
    lines: tuple[Line, ...]
    day: date


def decide(command: Dispatch, dispatched: bool) -> Sequence[Dispatched]:
    return [] if dispatched else [Dispatched(command.tracking, command.lines, command.day)]


def evolve(dispatched: bool, event: Dispatched) -> bool:
    return True


shipment = Decider("shipment", decide, evolve, initial=False)
