"""Orders off the normal path: a handler asks, the order's decider judges.

The handler sees one event and may run long after it was recorded; so it answers with a command that names the event's
version, and the decider, which knows the whole order, looks at what had happened up to there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from examples.purchase_orders.events import Event, GoodsReceived, InvoiceCleared, OrderDeleted, PriceChanged
from foldlog import Decider, Recorded, Send, command, event, handler


class Kind(Enum):
    CLEARED_BEFORE_GOODS = "invoice cleared before any goods receipt"
    DELETED = "deleted"
    PRICE_CHANGED_AFTER_GOODS = "price changed after goods receipt"
    PRICE_CHANGED = "price changed before goods receipt"


class Suspicion(Enum):
    CLEARED = "cleared"
    DELETED = "deleted"
    PRICE_CHANGED = "price changed"


@event("order.deviated", tags=("kind",))
class Deviated:
    """The order left the normal path with its event number `at`; noted once for each kind."""

    kind: Kind
    at: int


@command("order.inspect")
class Inspect:
    suspicion: Suspicion
    at: int


@dataclass(frozen=True, slots=True)
class State:
    version: int = 0
    goods: int = 0  # the version of the first goods receipt
    noted: tuple[Kind, ...] = ()


def decide(command: Inspect, state: State) -> Sequence[Deviated]:
    kind = judge(command, 0 < state.goods < command.at)
    return [] if kind is None or kind in state.noted else [Deviated(kind, command.at)]


def judge(command: Inspect, goods_received: bool) -> Kind | None:
    match command.suspicion:
        case Suspicion.DELETED:
            return Kind.DELETED
        case Suspicion.PRICE_CHANGED:
            return Kind.PRICE_CHANGED_AFTER_GOODS if goods_received else Kind.PRICE_CHANGED
        case Suspicion.CLEARED:
            return None if goods_received else Kind.CLEARED_BEFORE_GOODS


def evolve(state: State, event: Event | Deviated) -> State:
    version = state.version + 1
    if isinstance(event, Deviated):
        return replace(state, version=version, noted=(*state.noted, event.kind))
    if isinstance(event, GoodsReceived) and not state.goods:
        return State(version, version, state.noted)
    return State(version, state.goods, state.noted)


purchase_order = Decider("purchase_order", decide, evolve, initial=State())


SUSPICIONS = {
    InvoiceCleared: Suspicion.CLEARED,
    OrderDeleted: Suspicion.DELETED,
    PriceChanged: Suspicion.PRICE_CHANGED,
}


@handler("off-the-path")
async def off_the_path(event: Recorded[InvoiceCleared | OrderDeleted | PriceChanged]) -> Send:
    suspicion = SUSPICIONS[type(event.data)]
    return Send(purchase_order, event.key, Inspect(suspicion, event.version))
