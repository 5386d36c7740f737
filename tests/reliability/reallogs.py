"""Real logs, whole: rows that were kept live, rows of a version built later, and rows as of now are the same."""

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from examples.purchase_orders.deviations import off_the_path, purchase_order
from examples.purchase_orders.reading import FILE, Importer, orders
from examples.purchase_orders.views import VIEWS
from foldlog import App, Decider, Found, Recorded, command, event, projection
from foldlog.flow.difference import differences
from foldlog.limits import FIND_MAX
from foldlog.model.message import Draft, Meta, encode_meta, to_micros
from foldlog.model.projection import Projection
from foldlog.model.stream import NONE
from foldlog.ports.store import Append, Batch
from foldlog.runtime.building import build_view
from tests.reliability.processes import ROOT, Result

FINES = "road-traffic-fines.jsonl.gz"


@event("fine.advanced")
class Advanced:
    """One step of a fine; `paid` where it is a payment: all that was paid by then."""

    activity: str
    paid: Decimal | None


@command("fine.advance")
class Advance:
    activity: str


def decide(command: Advance, _steps: int) -> list[Advanced]:
    return [Advanced(command.activity, None)]


def evolve(steps: int, event: Advanced) -> int:
    return steps + 1


fine = Decider("fine", decide, evolve, initial=0)


@projection("fines", indexes=("steps",))
def fines(row: dict[str, Any] | None, event: Recorded[Advanced]) -> dict[str, Any]:
    """Every fine: its steps, what was paid, when it was heard of first and last."""
    row = row or {"steps": 0, "first": event.occurred.isoformat(), "paid": "0", "path": []}
    paid = row["paid"] if event.data.paid is None else str(event.data.paid)
    path = [*row["path"], event.data.activity]
    return {**row, "steps": row["steps"] + 1, "last": event.occurred.isoformat(), "paid": paid, "path": path}


@projection("steps", key=lambda event: event.activity.lower())
def steps(row: list[int] | None, event: Advanced) -> list[int]:
    """How often each step was taken, and something that tells in which order the events came."""
    count, order = row or (0, 0)
    return [count + 1, (order * 31 + int((event.paid or 0) * 100) + 7) % 1_000_003]


def data_folder() -> Path | None:
    """Where the real logs are: FOLDLOG_DATA, or beside the project; None where they are not."""
    folder = Path(os.environ.get("FOLDLOG_DATA") or ROOT.parent / "shared" / "data") / "event-logs"
    return folder if (folder / FILE).is_file() and (folder / FINES).is_file() else None


def real_logs(folder: Path, most: int | None = None) -> Result:
    """The first `most` cases of each log, or all."""
    data = data_folder()
    if data is None:
        raise FileNotFoundError("the real logs are missing: set FOLDLOG_DATA to the folder that has event-logs/")
    return asyncio.run(_both(folder, data, most))


async def _both(folder: Path, data: Path, most: int | None) -> Result:
    faults: list[str] = []
    figures: dict[str, object] = {}
    async with App(f"sqlite:{folder}/orders.db", [purchase_order, off_the_path, *VIEWS]) as app:
        await Importer(app).run(islice(orders(data / FILE), most))
        await app.settle(timeout=600)
        figures["events of orders"] = await app.system.store.head()
        figures["rows of orders"] = await _compare(app, [purchase_order, off_the_path], VIEWS, faults)
    async with App(f"sqlite:{folder}/fines.db", [fine, fines, steps]) as app:
        await _import(app, islice(_cases(data / FINES), most))
        await app.settle(timeout=600)
        figures["events of fines"] = await app.system.store.head()
        figures["rows of fines"] = await _compare(app, [fine], [fines, steps], faults)
    return Result("live = built later = as of now, on real logs", figures, faults)


async def _compare(app: App, others: Sequence[Any], views: Sequence[Any], faults: list[str]) -> int:
    head, rows = await app.system.store.head(), 0
    for view in views:
        live = {found.key: found.value async for found in _rows(app, view)}
        if not live:
            faults.append(f"{view.name} has no rows")
        now = {found.key: found.value async for found in _rows(app, view, at=head)}
        faults += [f"{view.name} {key}: live {live.get(key)}, as of now {now.get(key)}" for key in live.keys() ^ now]
        faults += [f"{view.name} {key}: live {live[key]}, as of now {now[key]}" for key in now if live[key] != now[key]]
        rows += len(live)
    later = [_later(view) for view in views]
    async with App(app.url, [*others, *later]).open(functions=False) as after:
        for view in later:
            await build_view(after.system, after.system.views[view.name], asyncio.Event(), None, lambda _: None)
            first, second = app.system.views[view.name].table, after.system.views[view.name].table
            found = [one async for one in differences(after.system.store, first, second)]
            faults += [f"{view.name} {one.key}: built later it is {one.kind}" for one in found]
    return rows


def _later(view: Projection[Any, Any]) -> Projection[Any, Any]:
    return projection(view.name, version=2, key=view.key, on=view.on, indexes=view.indexes, switch="manual")(view.fold)


async def _rows(app: App, view: Any, **at: Any) -> AsyncIterator[Found[Any]]:
    page = await app.find(view, limit=FIND_MAX, **at)
    while page:
        for found in page:
            yield found
        page = await app.find(view, limit=FIND_MAX, after=page[-1], **at) if len(page) == FIND_MAX else []


def _cases(path: Path) -> Iterator[list[dict[str, Any]]]:
    case: list[dict[str, Any]] = []
    with gzip.open(path, "rb") as file:
        for line in map(json.loads, file):
            if case and line["case"] != case[0]["case"]:
                yield case
                case = []
            case.append(line)
    yield case


async def _import(app: App, cases: Iterator[list[dict[str, Any]]]) -> None:
    schemas = app.system.schemas

    def draft(line: dict[str, Any]) -> Draft:
        paid = line["attrs"].get("totalpaymentamount")
        mark, body, _ = schemas.encode(Advanced(line["activity"], None if paid is None else Decimal(paid)))
        moment = to_micros(datetime.fromisoformat(line["time"]))
        return Draft(mark.name, mark.version, body, encode_meta(Meta("fines", line["n"], occurred=moment)))

    while batch := [Append(f"fine-{case[0]['case']}", [*map(draft, case)], NONE) for case in islice(cases, 200)]:
        await app.system.store.commit(Batch(batch))
