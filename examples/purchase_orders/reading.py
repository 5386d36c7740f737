"""The file, streamed, and its way into the store.

Orders come one after the other, as in the file, not in order of time over all of them: within an order the file is in
order of time, a stream is one order, and every fold here is about one order or a sum; so a global sort (which would
need the whole log in memory or on disk once more) would change no figure. When something happened is in `occurred`.
"""

import gzip
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from examples.purchase_orders.events import ACTIVITIES
from foldlog import App, Conflict
from foldlog.model.event import Stored
from foldlog.model.message import Draft, Meta, encode_meta, to_micros
from foldlog.model.stream import NONE, stream_of
from foldlog.ports.store import Append, Batch

FILE = "bpic2019-purchase-orders.jsonl.gz"
BATCH_STREAMS, BATCH_EVENTS = 100, 2_000


class Unreadable(Exception):
    """The data is not what it should be; the message says where."""


class Line(msgspec.Struct, frozen=True):
    """One line of the file."""

    case: str
    n: int
    activity: str
    time: datetime
    attrs: dict[str, Any] = {}


def find(path: Path) -> Path:
    """The log at `path`, a file or the folder that holds it. Errors: `Unreadable`."""
    places = [path, path / FILE, path / "event-logs" / FILE] if path.is_dir() else [path]
    for place in places:
        if place.is_file():
            return place
    where = f"no {FILE} in the folder {path}" if path.is_dir() else f"no such file or folder: {path}"
    raise Unreadable(f"{where}. The log is on 4TU.ResearchData: BPI Challenge 2019")


def orders(path: Path) -> Iterator[list[Line]]:
    """The lines of one order after the other. Errors: `Unreadable`, naming the line."""
    decode = msgspec.json.Decoder(Line).decode
    order: list[Line] = []
    number = 0
    try:
        with gzip.open(path, "rb") as file:
            for number, text in enumerate(file, 1):
                line = decode(text)
                if order and line.case != order[0].case:
                    yield order
                    order = []
                if line.n != len(order) or line.activity not in ACTIVITIES or line.time.tzinfo is None:
                    raise Unreadable(
                        f"{path}, line {number}: expected event {len(order)} of order {line.case}, of a known activity "
                        f"and with a time zone; found event {line.n}, {line.activity!r}, {line.time}"
                    )
                order.append(line)
    except (OSError, EOFError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path}, after line {number}: {error}") from error
    if order:
        yield order


class Importer:
    """Puts orders into an App's log, some at a time.

    A decider is for what is yet to be decided; these events have happened. So they go to the store as they are, by its
    one write, `commit`: each order a stream that must not exist yet, which makes a second import a `Conflict`.
    """

    def __init__(self, app: App) -> None:
        self._store = app.system.store
        schemas = app.system.schemas
        self._encoded: dict[str, tuple[Stored, bytes]] = {
            activity: schemas.encode(typed)[:2] for activity, typed in ACTIVITIES.items()
        }
        self.events = self.orders = self.commits = 0

    async def run(self, source: Iterator[list[Line]]) -> None:
        """Import every order. Errors: `Unreadable` when they are there already."""
        batch: list[Append] = []
        waiting = 0
        for order in source:
            if batch and (waiting + len(order) > BATCH_EVENTS or len(batch) == BATCH_STREAMS):
                await self._commit(batch)
                batch, waiting = [], 0
            batch.append(self._append(order))
            waiting += len(order)
        if batch:
            await self._commit(batch)

    def _append(self, order: Sequence[Line]) -> Append:
        return Append(stream_of("purchase_order", order[0].case), [self._draft(line) for line in order], NONE)

    def _draft(self, line: Line) -> Draft:
        mark, body = self._encoded[line.activity]
        meta = Meta("bpic2019", line.n, line.case, occurred=to_micros(line.time), headers=line.attrs)
        return Draft(mark.name, mark.version, body, encode_meta(meta))

    async def _commit(self, batch: list[Append]) -> None:
        try:
            await self._store.commit(Batch(batch))
        except Conflict as conflict:
            raise Unreadable(f"imported before: {conflict}") from conflict
        self.orders += len(batch)
        self.events += sum(len(append.drafts) for append in batch)
        self.commits += 1
