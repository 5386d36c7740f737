"""The purchase orders through Foldlog, beside a plain pass over the same file."""

import resource
import sys
import time
from itertools import islice
from pathlib import Path

from examples.purchase_orders import plain
from examples.purchase_orders.deviations import purchase_order
from examples.purchase_orders.orders import figures, open_orders
from examples.purchase_orders.reading import Importer, find
from examples.purchase_orders.reading import orders as orders_in
from examples.purchase_orders.views import orders, rework
from examples.report import Laps, lines, note, quantiles, table, title
from examples.store import check_empty, kind
from foldlog import App

PATIENCE = 600.0
LOOKED_UP = 500
LONG = ("activity: ", "times: ", "seconds: ")  # figures too many to print; they are compared all the same


async def tour(url: str, data: Path, most: int | None = None) -> bool:
    """Import the log at `data` into an empty store; returns whether all figures agree.

    Errors: `Unreadable`, `Taken`.
    """
    path = find(data)
    app = open_orders(url)
    print(f"Purchase orders: {path.name}, on {kind(url)}")
    before = memory()
    await check_empty(app)
    async with app:
        note("importing")
        laps = Laps()
        importer = Importer(app)
        await importer.run(islice(orders_in(path), most))
        importing = laps.lap()
        note("the functions finish what follows")
        await app.settle(PATIENCE)
        following = importing + laps.lap()
        after = memory()
        ours = await figures(app)
        await speed(app, importer, importing, following)
        lines([("memory, most, over the start", f"{after - before:,.0f} MB")])
        await read_models(app)
    note("the plain pass")
    laps.lap()
    theirs = plain.figures(path, most)
    return compare(ours, theirs, laps.lap())


async def speed(app: App, importer: Importer, importing: float, following: float) -> None:
    log = await app.system.store.head()
    page = await app.find(orders, limit=LOOKED_UP)
    looking: list[float] = []
    folding: list[float] = []
    for found in page:
        start = time.perf_counter()
        await app.get(orders, found.key)
        middle = time.perf_counter()
        await app.get(purchase_order, found.key)
        looking.append(middle - start)
        folding.append(time.perf_counter() - middle)
    title("Speed")
    lines(
        [
            ("imported", f"{importer.events:,} events of {importer.orders:,} orders in {importer.commits:,} commits"),
            ("", f"{importing:.1f} s, {importer.events / importing:,.0f} a second, while the functions followed"),
            ("until the last function had seen all", f"{following:.1f} s, the log then ended at position {log:,}"),
            ("look up one order's row", quantiles(looking)),
            ("fold one order's events", quantiles(folding)),
        ]
    )


async def read_models(app: App) -> None:
    title("Read models")
    worst = await app.find(rework, "repeated", backward=True, limit=3)
    oldest = await app.find(orders, "first", limit=3)
    table(
        ("most rework", "events", "repeated"),
        [(o.key, sum(o.value.activities.values()), o.value.repeated) for o in worst],
    )
    print()
    table(
        ("oldest orders", "status", "first event", "days"),
        [(o.key, o.value.status.value, f"{o.value.first:%Y-%m-%d}", o.value.age // 86_400) for o in oldest],
    )
    letters = await app.dead_letters()
    print()
    lines([("dead letters", len(letters))])


def compare(ours: dict[str, int], theirs: dict[str, int], seconds: float) -> bool:
    """Print both, all that differs and what is short; returns whether they agree. What was never counted is 0."""
    names = sorted(ours.keys() | theirs.keys())
    wrong = [name for name in names if ours.get(name, 0) != theirs.get(name, 0)]
    title("Foldlog beside a plain pass over the file")
    rows = [name for name in names if name in wrong or not name.startswith(LONG)]
    rows += sorted((name for name in names if name.startswith("activity: ")), key=lambda name: -theirs.get(name, 0))[:5]
    table(
        ("figure", "Foldlog", "plain", ""),
        [(n, ours.get(n, 0), theirs.get(n, 0), "≠" if n in wrong else "=") for n in rows],
    )
    print(f"\n  {len(names):,} figures compared (all activities, and the time between all pairs of steps): ", end="")
    print(f"{len(wrong):,} differ" if wrong else "all equal", f"(plain pass: {seconds:.1f} s)")
    return not wrong


def memory() -> float:
    """The most memory that this process has held so far, in MB."""
    unit = 1_048_576 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
