"""The payment of one order, as the gateway answered."""

from collections.abc import Sequence
from decimal import Decimal

from foldlog import Decider, Rejected, command, event


@event("payment.captured")
class Captured:
    amount: Decimal
    reference: str


@event("payment.declined")
class Declined:
    amount: Decimal
    why: str


@event("payment.refunded")
class Refunded:
    amount: Decimal
    reference: str


Event = Captured | Declined | Refunded


@command("payment.record-capture")
class RecordCapture:
    amount: Decimal
    reference: str


@command("payment.record-decline")
class RecordDecline:
    amount: Decimal
    why: str


@command("payment.refund")
class Refund:
    reference: str


Command = RecordCapture | RecordDecline | Refund
State = Captured | Declined | Refunded | None


def decide(command: Command, state: State) -> Sequence[Event]:
    match command, state:
        case RecordCapture(amount, reference), None:
            return [Captured(amount, reference)]
        case RecordDecline(amount, why), None:
            return [Declined(amount, why)]
        case Refund(reference), Captured(amount):
            return [Refunded(amount, reference)]
        case Refund(), Refunded():
            return []
        case _:
            raise Rejected("payment.not-possible", f"{command} does not fit {state}")


def evolve(state: State, event: Event) -> State:
    return event  # the last thing that happened says it all


payment = Decider("payment", decide, evolve, initial=None)
