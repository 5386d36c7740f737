"""The shop on seeded traffic, and a report of what came of it."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from examples.report import Checks, Laps, lines, note, quantiles, table, title
from examples.shop.order import CancelOrder, Reason, Status, order
from examples.shop.outside import Gateway, PostOffice
from examples.shop.shop import shop
from examples.shop.stock import Receive, stock
from examples.shop.traffic import POISON, Placed, deliveries, traffic
from examples.shop.views import OrderRow, counts, order_status, revenue, sales, stock_levels
from examples.store import check_empty, kind
from foldlog import App, Found, Rejected
from foldlog.limits import FIND_MAX

CUSTOMERS = 32  # at work at the same time
SECOND_THOUGHTS = 40  # a regretted order is cancelled within so many more
LIVE = 300  # appends whose way into a read model is timed
PATIENCE = 300.0


async def tour(url: str, orders: int, seed: int) -> bool:
    """Run the shop on an empty store; returns whether every count is as it must be. Errors: `Taken`."""
    gateway, post = Gateway(seed), PostOffice((POISON,))
    app = shop(url, gateway, post)
    print(f"The shop: {orders:,} orders, seed {seed}, on {kind(url)}")
    await check_empty(app)
    async with app:
        for product, quantity in deliveries(orders):
            await app.send(stock, product, Receive(quantity))
        note("customers are ordering")
        laps = Laps()
        customers = Customers(app, traffic(orders, seed))
        await customers.run()
        sending = laps.lap()
        note("the functions finish what follows")
        await app.settle(PATIENCE)
        following = sending + laps.lap()
        await throughput(app, customers, orders, sending, following)
        await read_models(app)
        await refusal(app)
        await poison(app, post)
        return await proofs(app, gateway, post, orders)


class Customers:
    """`CUSTOMERS` of them take orders from one list; some regret theirs, at once or when some more were placed."""

    def __init__(self, app: App, orders: Iterator[Placed]) -> None:
        self.app, self.orders = app, orders
        self.seconds: list[float] = []
        self.regretted = self.too_late = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(CUSTOMERS):
                group.create_task(self._order())

    async def _order(self) -> None:
        regretted: deque[str] = deque()
        for number, placed in enumerate(self.orders):
            start = time.perf_counter()
            await self.app.send(order, placed.key, placed.command)
            self.seconds.append(time.perf_counter() - start)
            if placed.regretted:
                regretted.append(placed.key)
            if regretted and number % SECOND_THOUGHTS == 0:
                await self._regret(regretted.popleft())
        for key in regretted:
            await self._regret(key)

    async def _regret(self, key: str) -> None:
        self.regretted += 1
        try:
            await self.app.send(order, key, CancelOrder(Reason.CUSTOMER))
        except Rejected:
            self.too_late += 1


async def throughput(app: App, customers: Customers, orders: int, sending: float, following: float) -> None:
    events = await logged(app)
    live: list[float] = []
    for number in range(LIVE):
        start = time.perf_counter()
        receipt = await app.send(stock, f"delivery-{number % 10}", Receive(1))
        await app.get(stock_levels, receipt.stream.partition("-")[2], after=receipt)
        live.append(time.perf_counter() - start)
    title("Speed")
    lines(
        [
            ("orders taken", f"{orders / sending:,.0f} a second, while 9 handlers and 5 read models followed"),
            ("events, until the last function had seen all", f"{events:,} in {following:.1f} s"),
            ("", f"{events / following:,.0f} a second"),
            (f"send, {CUSTOMERS} customers at once", quantiles(customers.seconds)),
            ("append to row readable, one at a time", quantiles(live)),
            ("cancelled by customers", f"{customers.regretted:,} tried, {customers.too_late:,} came too late"),
        ]
    )


async def logged(app: App) -> int:
    """How many events the log holds; positions may leave some out."""
    return len([event.position async for event in app.read()])


async def every(app: App, view: Any) -> list[Found[Any]]:
    found: list[Found[Any]] = []
    while page := await app.find(view, limit=FIND_MAX // 10, after=found[-1] if found else None):
        found += page
    return found


async def read_models(app: App) -> None:
    title("Read models")
    table(("events of type", "count"), [(one.key, one.value) for one in await app.find(counts)])
    print()
    best = await app.find(stock_levels, "sold", backward=True, limit=3)
    gone = await app.find(stock_levels, "free", 0, 2, limit=3)
    table(
        ("stock levels", "free", "reserved", "sold"),
        [(f"{one.key} {note}", *_stock(one)) for note, page in (("(best)", best), ("(scarce)", gone)) for one in page],
    )
    print()
    days: dict[str, tuple[int, Decimal]] = {}
    for one in await every(app, sales):
        day = one.key.partition("/")[0]
        pieces, amount = days.get(day, (0, Decimal()))
        days[day] = pieces + one.value.pieces, amount + one.value.amount
    table(("sales of the day", "pieces", "amount"), [(day, *sold) for day, sold in sorted(days.items())])


def _stock(found: Found[Any]) -> tuple[int, int, int]:
    return found.value.free, found.value.reserved, found.value.sold


async def refusal(app: App) -> None:
    title("A command refused")
    shipped = await app.find(order_status, "status", Status.SHIPPED, Status.SHIPPED, limit=1)
    key = shipped[0].key
    try:
        await app.send(order, key, CancelOrder(Reason.CUSTOMER))
    except Rejected as no:
        lines([(f"cancel order {key}", f"{no.code}: {no.message}"), ("its data", no.data)])


async def poison(app: App, post: PostOffice) -> None:
    title("A dead letter")
    letters = await app.dead_letters()
    for letter in letters:
        lines(
            [
                ("given up", f"{letter.function}, {letter.type} of {letter.stream}, after {letter.attempts} attempts"),
                ("because", letter.error.strip().rpartition("\n")[2]),
            ]
        )
    post.repair(POISON)
    replayed = 0
    for letter in letters:
        replayed += await app.replay(id=letter.id)
    await app.settle(PATIENCE)
    sent = [text for email, text in post.mails.values() if email == POISON]
    lines(
        [
            ("the mailbox repaired, replayed", replayed),
            ("the post office then took", "; ".join(sent)),
            ("dead letters left", len(await app.dead_letters())),
        ]
    )


async def proofs(app: App, gateway: Gateway, post: PostOffice, orders: int) -> bool:
    title("Nothing lost, nothing twice")
    checks = Checks()
    types = {one.key: one.value for one in await app.find(counts)}
    rows: list[OrderRow] = [one.value for one in await every(app, order_status)]
    shelf = [one.value for one in await every(app, stock_levels)]
    sold = [one.value for one in await every(app, sales)]
    money = await app.get(revenue, "all")
    shipped = [row for row in rows if row.status is Status.SHIPPED]
    cancelled = [row for row in rows if row.status is Status.CANCELLED]
    reasons = ", ".join(f"{sum(row.reason is one for row in cancelled):,} {one.value}" for one in Reason)
    checks.equal("orders placed = shipped + cancelled", orders, len(shipped) + len(cancelled))
    print(f"       {len(shipped):,} shipped, {len(cancelled):,} cancelled ({reasons})")
    delivered = sum(quantity for _, quantity in deliveries(orders)) + LIVE
    there = sum(row.free + row.sold for row in shelf)
    checks.equal("pieces delivered = on the shelves + sold", delivered, there)
    checks.equal("pieces still reserved", sum(row.reserved for row in shelf), 0)
    checks.equal("pieces sold = pieces in the sales", sum(r.sold for r in shelf), sum(r.pieces for r in sold))
    taken = sum(gateway.taken.values(), Decimal()) - sum(gateway.returned.values(), Decimal())
    amount = money.amount if money else Decimal()
    checks.equal("money at the gateway = revenue", taken, amount)
    checks.equal("revenue = totals of shipped orders", amount, sum((row.total for row in shipped), Decimal()))
    checks.equal("revenue = sales", amount, sum((row.amount for row in sold), Decimal()))
    checks.equal("mails sent = orders at their end", len(post.mails), len(shipped) + len(cancelled))
    checks.equal("mails noted = mails sent", types.get("notification.sent", 0), len(post.mails))
    checks.equal("events counted = events in the log", sum(types.values()), await logged(app))
    print(
        f"       {gateway.calls['down']:,} of {gateway.calls['charge']:,} calls of the gateway failed and were retried"
    )
    return not checks.failed
