"""The choreography: which event makes which command follow.

Every handler answers with `Send`s. They are stored together with the mark that the event was handled, so that each
follows once, whatever crashes in between. Only `charge`, `give_back` and `notify` touch the outside, with `ctx.id` as
their idempotency key.
"""

from examples.shop.notification import News, RecordSent, notification
from examples.shop.order import (
    CancelOrder,
    ConfirmLine,
    LineConfirmedTooLate,
    MarkPaid,
    MarkShipped,
    OrderCancelled,
    OrderPaid,
    OrderPaidTooLate,
    OrderPlaced,
    OrderReady,
    OrderShipped,
    Reason,
    order,
)
from examples.shop.outside import Gateway, PostOffice
from examples.shop.payment import Captured, Declined, RecordCapture, RecordDecline, Refund, Refunded, payment
from examples.shop.shipment import Dispatch, Dispatched, shipment
from examples.shop.stock import RanOut, Release, Reserve, Reserved, TakeOut, stock
from foldlog import Backoff, Context, Recorded, Send, handler

QUICK = Backoff(attempts=6, first=0.02, ceiling=0.5)


@handler("reserve")
async def reserve(event: Recorded[OrderPlaced]) -> list[Send]:
    return [Send(stock, line.product, Reserve(event.key, line.quantity)) for line in event.data.lines]


@handler("confirm")
async def confirm(event: Recorded[Reserved | RanOut]) -> Send:
    match event.data:
        case Reserved(order_id):
            return Send(order, order_id, ConfirmLine(event.key))
        case RanOut(order_id):
            return Send(order, order_id, CancelOrder(Reason.OUT_OF_STOCK))


@handler("settle-payment")
async def settle_payment(event: Recorded[Captured | Declined]) -> Send:
    match event.data:
        case Captured(reference=reference):
            return Send(order, event.key, MarkPaid(reference))
        case Declined():
            return Send(order, event.key, CancelOrder(Reason.PAYMENT_DECLINED))


@handler("dispatch")
async def dispatch(event: Recorded[OrderPaid]) -> Send:
    paid = event.data
    return Send(shipment, event.key, Dispatch(f"parcel-{event.key}", paid.lines, paid.placed_at.date()))


@handler("hand-over")
async def hand_over(event: Recorded[Dispatched]) -> list[Send]:
    parcel = event.data
    taken = [Send(stock, line.product, TakeOut(event.key, line.price, parcel.day)) for line in parcel.lines]
    return [*taken, Send(order, event.key, MarkShipped(parcel.tracking))]


@handler("undo")
async def undo(event: Recorded[OrderCancelled | LineConfirmedTooLate | OrderPaidTooLate]) -> list[Send]:
    match event.data:
        case OrderCancelled(release=products):
            return [Send(stock, product, Release(event.key)) for product in products]
        case LineConfirmedTooLate(product):
            return [Send(stock, product, Release(event.key))]
        case OrderPaidTooLate(reference):
            return [Send(payment, event.key, Refund(reference))]


def message(order_id: str, event: OrderShipped | OrderCancelled) -> tuple[News, str]:
    match event:
        case OrderShipped(tracking):
            return News.SHIPPED, f"Order {order_id} is on its way: {tracking}."
        case OrderCancelled(reason):
            return News.CANCELLED, f"Order {order_id} was cancelled: {reason.value}."


def to_the_outside(gateway: Gateway, post: PostOffice) -> list[object]:
    """The handlers that need the outside, bound to it."""

    @handler("charge", retry=QUICK)
    async def charge(event: Recorded[OrderReady], ctx: Context) -> Send:
        total = event.data.total
        answer = await gateway.charge(ctx.id, event.key, total, ctx.attempt)
        if not answer.reference:
            return Send(payment, event.key, RecordDecline(total, answer.why))
        return Send(payment, event.key, RecordCapture(total, answer.reference))

    @handler("give-back", retry=QUICK)
    async def give_back(event: Refunded, ctx: Context) -> None:
        await gateway.refund(ctx.id, event.amount)

    @handler("notify", retry=Backoff(attempts=3, first=0.02, ceiling=0.1))
    async def notify(event: Recorded[OrderShipped | OrderCancelled], ctx: Context) -> Send:
        news, text = message(event.key, event.data)
        await post.send(ctx.id, event.data.email, text)
        return Send(notification, event.key, RecordSent(news, event.data.email))

    return [charge, give_back, notify]


STEPS: list[object] = [reserve, confirm, settle_payment, dispatch, hand_over, undo]
