import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from examples.shop.notification import News, RecordSent, Sent, notification
from examples.shop.order import (
    CancelOrder,
    ConfirmLine,
    Line,
    LineConfirmed,
    LineConfirmedTooLate,
    MarkPaid,
    MarkShipped,
    OrderCancelled,
    OrderPaid,
    OrderPaidTooLate,
    OrderPlaced,
    OrderReady,
    OrderShipped,
    PlaceOrder,
    Reason,
    Status,
    order,
)
from examples.shop.outside import Answer, Gateway, PostOffice
from examples.shop.payment import Captured, Declined, RecordDecline, Refund, Refunded, payment
from examples.shop.shipment import Dispatch, Dispatched, shipment
from examples.shop.shop import shop
from examples.shop.steps import confirm, hand_over, reserve, settle_payment, undo
from examples.shop.stock import (
    RanOut,
    Receive,
    Received,
    Release,
    Released,
    Reserve,
    Reserved,
    TakenOut,
    TakeOut,
    stock,
)
from examples.shop.tour import tour
from examples.shop.traffic import traffic
from examples.shop.views import OrderRow, RevenueRow, SalesRow, StockRow, order_status, revenue, sales, stock_levels
from foldlog import App, Rejected, Send
from foldlog.testing import given

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
BOOK, PEN = Line("book", 1, Decimal("12.50")), Line("pen", 3, Decimal("0.90"))
PLACE = PlaceOrder("ann", "ann@shop.example", (BOOK, PEN), AT)
PLACED = OrderPlaced("ann", "ann@shop.example", (BOOK, PEN), Decimal("15.20"), AT)
CANCELLED = OrderCancelled(Reason.OUT_OF_STOCK, ("book",), "ann@shop.example")

# ---------------------------------------------------------------- the deciders


def test_an_order_is_placed_once_with_its_total():
    given(order).when(PLACE).then(PLACED)
    given(order, PLACED).when(PLACE).then_rejected("order.already-placed")


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ((), "order.empty"),
        ((Line("pen", 0, Decimal(1)),), "order.empty"),
        ((PEN, PEN), "order.product-twice"),
    ],
)
def test_an_order_without_sense_is_rejected(lines, code):
    given(order).when(PlaceOrder("ann", "ann@shop.example", lines, AT)).then_rejected(code)


def test_an_order_is_ready_when_its_last_line_is_confirmed():
    given(order, PLACED).when(ConfirmLine("book")).then(LineConfirmed("book"))
    ready = given(order, PLACED, LineConfirmed("book"))
    ready.when(ConfirmLine("book")).then_nothing()
    ready.when(ConfirmLine("pen")).then(LineConfirmed("pen"), OrderReady(Decimal("15.20")))


def test_a_cancelled_order_names_what_to_release_and_turns_late_answers_back():
    given(order, PLACED, LineConfirmed("book")).when(CancelOrder(Reason.OUT_OF_STOCK)).then(CANCELLED)
    late = given(order, PLACED, LineConfirmed("book"), CANCELLED)
    late.when(ConfirmLine("pen")).then(LineConfirmedTooLate("pen"))
    late.when(MarkPaid("pay-1")).then(OrderPaidTooLate("pay-1"))
    late.when(CancelOrder(Reason.CUSTOMER)).then_nothing()


def test_a_shipped_order_cannot_be_cancelled():
    shipped = given(order, PLACED, OrderShipped("parcel-1", "ann@shop.example"))
    no = shipped.when(CancelOrder(Reason.CUSTOMER)).then_rejected("order.already-shipped")
    assert no.data == {"status": "shipped", "reason": "customer"}


def test_stock_is_reserved_released_and_taken_out_once():
    given(stock, Received(3)).when(Reserve("1", 2)).then(Reserved("1", 2))
    given(stock, Received(3)).when(Reserve("1", 4)).then(RanOut("1", 4, 3))
    reserved = given(stock, Received(3), Reserved("1", 2))
    reserved.when(Reserve("1", 2)).then_nothing()
    reserved.when(Release("1")).then(Released("1", 2))
    reserved.when(TakeOut("1", Decimal("0.90"), AT.date())).then(TakenOut("1", 2, Decimal("1.80"), AT.date()))
    given(stock, Received(3)).when(Release("1")).then_nothing()
    given(stock, Received(3)).when(TakeOut("1", Decimal(1), AT.date())).then_rejected("stock.not-reserved")
    given(stock).when(Receive(0)).then_rejected("stock.nothing-received")


def test_money_comes_back_once():
    captured = Captured(Decimal(5), "pay-1")
    given(payment, captured).when(Refund("pay-1")).then(Refunded(Decimal(5), "pay-1"))
    given(payment, captured, Refunded(Decimal(5), "pay-1")).when(Refund("pay-1")).then_nothing()
    given(payment, captured).when(RecordDecline(Decimal(5), "no")).then_rejected("payment.not-possible")


def test_a_parcel_goes_and_a_customer_is_told_once():
    parcel = Dispatched("parcel-1", (BOOK,), AT.date())
    given(shipment, parcel).when(Dispatch("parcel-1", (BOOK,), AT.date())).then_nothing()
    sent = Sent(News.SHIPPED, "ann@shop.example")
    given(notification, sent).when(RecordSent(News.SHIPPED, "ann@shop.example")).then_nothing()


# ---------------------------------------------------------------- steps and views


def test_each_step_answers_with_the_next_command():
    given(reserve, key="7").when(PLACED).then(Send(stock, "book", Reserve("7", 1)), Send(stock, "pen", Reserve("7", 3)))
    given(confirm, key="pen").when(Reserved("7", 3)).then(Send(order, "7", ConfirmLine("pen")))
    given(confirm, key="pen").when(RanOut("7", 3, 0)).then(Send(order, "7", CancelOrder(Reason.OUT_OF_STOCK)))
    declined = Send(order, "7", CancelOrder(Reason.PAYMENT_DECLINED))
    given(settle_payment, key="7").when(Declined(Decimal(5), "no")).then(declined)
    given(undo, key="7").when(CANCELLED).then(Send(stock, "book", Release("7")))
    given(undo, key="7").when(LineConfirmedTooLate("pen")).then(Send(stock, "pen", Release("7")))
    given(undo, key="7").when(OrderPaidTooLate("pay-7")).then(Send(payment, "7", Refund("pay-7")))
    taken, marked = Send(stock, "book", TakeOut("7", BOOK.price, AT.date())), Send(order, "7", MarkShipped("parcel-7"))
    given(hand_over, key="7").when(Dispatched("parcel-7", (BOOK,), AT.date())).then(taken, marked)


def test_the_read_models_fold():
    row = OrderRow(Status.PLACED, "ann", Decimal("15.20"), AT)
    given(order_status, PLACED).then(row)
    given(stock_levels, Received(9), Reserved("1", 2), Reserved("2", 3), Released("2", 3)).then(StockRow(7, 2, 0))
    day = date(2026, 3, 2)
    sold = [TakenOut("1", 2, Decimal("1.80"), day), TakenOut("2", 1, Decimal("0.90"), day)]
    given(sales, *sold, key="pen").then(SalesRow(3, Decimal("2.70")), key="2026-03-02/pen")
    money = [Captured(Decimal(5), "a"), Captured(Decimal(3), "b"), Refunded(Decimal(5), "a")]
    given(revenue, *money).then(RevenueRow(2, 1, Decimal(3)), key="all")


def test_the_same_seed_makes_the_same_traffic():
    assert list(traffic(50, 3)) == list(traffic(50, 3))
    assert list(traffic(50, 3)) != list(traffic(50, 4))


# ---------------------------------------------------------------- end states, on every engine


@dataclass
class End:
    row: OrderRow
    shelves: dict[str, StockRow | None]
    money: RevenueRow | None
    mails: list[str]


async def end(app: App, post: PostOffice, received: dict[str, int], place: PlaceOrder = PLACE) -> End:
    async with app:
        for product, quantity in received.items():
            await app.send(stock, product, Receive(quantity))
        await app.send(order, "1", place)
        await app.settle()
        row = await app.get(order_status, "1")
        assert row is not None
        shelves = {product: await app.get(stock_levels, product) for product in received}
        return End(row, shelves, await app.get(revenue, "all"), [text for _, text in post.mails.values()])


def test_an_order_that_goes_well_is_shipped(url, run):
    post = PostOffice()
    found = run(end(shop(url, Gateway(down=0, declined=0), post), post, {"book": 5, "pen": 5}))
    assert (found.row.status, found.row.tracking) == (Status.SHIPPED, "parcel-1")
    assert found.shelves == {"book": StockRow(4, 0, 1), "pen": StockRow(2, 0, 3)}
    assert found.money == RevenueRow(1, 0, Decimal("15.20"))
    assert found.mails == ["Order 1 is on its way: parcel-1."]


@pytest.mark.parametrize("short", ["book", "pen"])
def test_out_of_stock_gives_everything_back(url, run, short):
    post, received = PostOffice(), {"book": 5, "pen": 5} | {short: 1}
    place = PlaceOrder("ann", "ann@shop.example", (Line("book", 2, Decimal(1)), Line("pen", 2, Decimal(1))), AT)
    found = run(end(shop(url, Gateway(down=0, declined=0), post), post, received, place))
    assert (found.row.status, found.row.reason) == (Status.CANCELLED, Reason.OUT_OF_STOCK)
    assert found.shelves == {product: StockRow(quantity) for product, quantity in received.items()}
    assert found.money is None
    assert found.mails == ["Order 1 was cancelled: out of stock."]


def test_a_declined_payment_gives_everything_back(url, run):
    post = PostOffice()
    found = run(end(shop(url, Gateway(down=0, declined=1), post), post, {"book": 5, "pen": 5}))
    assert (found.row.status, found.row.reason) == (Status.CANCELLED, Reason.PAYMENT_DECLINED)
    assert found.shelves == {"book": StockRow(5), "pen": StockRow(5)}
    assert (found.money, found.mails) == (None, ["Order 1 was cancelled: payment declined."])


class Flaky(Gateway):
    """Down for the first two attempts at every order."""

    async def charge(self, key: str, order: str, amount: Decimal, attempt: int) -> Answer:
        self.down = 1.0 if attempt <= 2 else 0.0
        return await super().charge(key, order, amount, attempt)


def test_a_gateway_that_was_down_is_asked_again_and_charges_once(url, run):
    post, gateway = PostOffice(), Flaky(declined=0)
    found = run(end(shop(url, gateway, post), post, {"book": 5, "pen": 5}))
    assert found.row.status is Status.SHIPPED
    assert (gateway.calls["charge"], gateway.calls["down"]) == (3, 2)
    assert list(gateway.taken.values()) == [Decimal("15.20")]


class Slow(Gateway):
    """Holds every charge until it is let go."""

    def __init__(self) -> None:
        super().__init__(down=0, declined=0)
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def charge(self, key: str, order: str, amount: Decimal, attempt: int) -> Answer:
        self.asked.set()
        await self.go_on.wait()
        return await super().charge(key, order, amount, attempt)


async def cancelled_while_paying(url: str) -> tuple[OrderRow | None, RevenueRow | None, StockRow | None, Gateway]:
    gateway = Slow()
    async with shop(url, gateway, PostOffice()) as app:
        await app.send(stock, "book", Receive(5))
        await app.send(order, "1", PlaceOrder("ann", "ann@shop.example", (BOOK,), AT))
        await gateway.asked.wait()
        await app.send(order, "1", CancelOrder(Reason.CUSTOMER))
        gateway.go_on.set()
        await app.settle()
        return (
            await app.get(order_status, "1"),
            await app.get(revenue, "all"),
            await app.get(stock_levels, "book"),
            gateway,
        )


def test_money_for_an_order_cancelled_meanwhile_is_refunded(url, run):
    row, money, shelf, gateway = run(cancelled_while_paying(url))
    assert row.status is Status.CANCELLED
    assert money == RevenueRow(1, 1, Decimal())
    assert shelf == StockRow(5)
    assert list(gateway.returned.values()) == list(gateway.taken.values()) == [Decimal("12.50")]


async def refused_mail(url: str) -> None:
    post = PostOffice(("ann@shop.example",))
    async with shop(url, Gateway(down=0, declined=0), post) as app:
        for product in ("book", "pen"):
            await app.send(stock, product, Receive(5))
        await app.send(order, "1", PLACE)
        await app.settle()
        (letter,) = await app.dead_letters()
        assert (letter.function, letter.stream, letter.attempts) == ("handler.notify", "order-1", 3)
        assert "550 no such mailbox: ann@shop.example" in letter.error
        assert await app.replay(id=letter.id) == 1
        await app.settle()
        (again,) = await app.dead_letters()
        assert again.id == letter.id
        post.repair("ann@shop.example")
        await app.replay(id=again.id)
        await app.settle()
        assert await app.dead_letters() == []
        assert list(post.mails.values()) == [("ann@shop.example", "Order 1 is on its way: parcel-1.")]
        with pytest.raises(Rejected, match="sent back"):
            await app.send(order, "1", CancelOrder(Reason.CUSTOMER))


def test_refused_mail_is_a_dead_letter_until_it_is_repaired_and_replayed(url, run):
    run(refused_mail(url))


def test_the_whole_shop_adds_up(tmp_path, capsys, run):
    assert run(tour(f"sqlite:{tmp_path}/shop.db", 300, 5))
    printed = capsys.readouterr().out
    assert "order.already-shipped" in printed
    assert "dead letters left                            0" in printed
    assert "BAD" not in printed


def test_a_paid_order_names_what_to_ship():
    paying = given(order, PLACED, LineConfirmed("book"), LineConfirmed("pen"), OrderReady(Decimal("15.20")))
    paying.when(MarkPaid("pay-1")).then(OrderPaid("pay-1", (BOOK, PEN), AT))
