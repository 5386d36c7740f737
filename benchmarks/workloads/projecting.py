"""Projections: a log that is there is folded into rows, from opening the app to having seen everything."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from eventsourcing.system import SingleThreadedRunner

from benchmarks.measure import Aim, Bench, Metric, Sample, Side, Workload
from benchmarks.ours import LineAdded, Ours
from benchmarks.ours_rows import OneLine, Total, lines, totals
from benchmarks.peer import Peer, environment
from benchmarks.peer_rows import IndexedRows, PlainRows, Rows, recorder, start
from benchmarks.raw import Raw

EACH = 20  # events of a stream
PAGE = 4_096  # events a transaction, as Foldlog folds them
UPSERT_PLAIN = "INSERT INTO plain_rows VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
UPSERT_INDEXED = (
    "INSERT INTO indexed_rows VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
    "value = excluded.value, customer = excluded.customer, quantity = excluded.quantity"
)
CHECKPOINT = "INSERT INTO checkpoint VALUES ('rows', ?) ON CONFLICT (name) DO UPDATE SET position = excluded.position"

Change = Callable[[dict[Any, Any], int, LineAdded], None]


def _fold_plain(held: dict[Any, Any], stream: int, event: LineAdded) -> None:
    held[f"{stream}"] = totals(held.get(f"{stream}"), event)


def _fold_indexed(held: dict[Any, Any], _stream: int, event: LineAdded) -> None:
    held[event.order] = lines(None, event)


def _fold_raw(path: Path, events: int, *, indexed: bool) -> None:
    """Read, fold in memory and write back, a page a transaction: what a program without a framework would do."""
    decode = msgspec.json.Decoder(LineAdded).decode
    encode = msgspec.json.Encoder().encode
    fold = _fold_indexed if indexed else _fold_plain
    held: dict[Any, Any] = {}
    with Raw(path) as raw:
        position: Any = 0
        while position < events:
            page: list[Any] = raw.conn.execute(
                "SELECT position, stream, body FROM events WHERE position > ? ORDER BY position LIMIT ?",
                (position, PAGE),
            ).fetchall()
            touched: dict[Any, Any] = {}
            before = held if not indexed else {}
            for _, stream, body in page:
                event = decode(body)
                fold(before, stream, event)
                key = event.order if indexed else f"{stream}"
                touched[key] = before[key]
            position = page[-1][0]
            raw.conn.execute("BEGIN IMMEDIATE")
            if indexed:
                changes: list[tuple[Any, ...]] = [(k, encode(v), v.customer, v.quantity) for k, v in touched.items()]
            else:
                changes = [(k, encode(v)) for k, v in touched.items()]
            raw.conn.executemany(UPSERT_INDEXED if indexed else UPSERT_PLAIN, changes)
            raw.run(CHECKPOINT, (position,))
            raw.conn.execute("COMMIT")


@contextmanager
def _projecting(bench: Bench, *, indexed: bool) -> Iterator[dict[str, Side]]:
    name = "indexed" if indexed else "plain"
    events, fewer = bench.sizes.projected, bench.sizes.projected_peer
    streams = events // EACH
    logs = {side: bench.path(f"{name}-{side}") for side in ("ours", "peer", "raw")}
    copies = (bench.path(f"{name}-copy-{number}") for number in count())
    with Ours(f"sqlite:{logs['ours']}") as ours:
        ours.run(ours.fill(events, streams))
    with Peer(environment(logs["peer"])) as peer:
        peer.fill(events, streams)
    with Raw(logs["raw"]) as raw:
        raw.fill(events, streams)

    def fresh(side: str) -> Path:
        """The log without any rows: closed databases are one file."""
        return Path(shutil.copyfile(logs[side], next(copies)))

    def by_ours() -> Sample:
        path = fresh("ours")
        begin = time.perf_counter()
        with Ours(f"sqlite:{path}", lines if indexed else totals) as ours:
            ours.run(ours.app.settle(600))
            taken = time.perf_counter() - begin
            _check(ours, indexed=indexed)
        return {"rate": events / taken}

    def by_peer() -> Sample:
        rows: Rows = IndexedRows if indexed else PlainRows
        begin = time.perf_counter()
        running = start(SingleThreadedRunner, rows, logs["peer"], next(copies))
        running.get(rows).pull_and_process(
            "Shop", stop=streams + fewer
        )  # before them stands the first event of each stream
        taken = time.perf_counter() - begin
        assert recorder(running, rows).count() > 0
        running.stop()
        return {"rate": fewer / taken}

    def by_raw() -> Sample:
        path = fresh("raw")
        begin = time.perf_counter()
        _fold_raw(path, events, indexed=indexed)
        return {"rate": events / (time.perf_counter() - begin)}

    yield {"ours": by_ours, "peer": by_peer, "raw": by_raw}


def _check(ours: Ours, *, indexed: bool) -> None:
    """The rows are there."""
    part = lines if indexed else totals
    found = ours.run(ours.app.find(part, limit=10))
    assert len(found) == 10
    if not indexed:
        assert all(isinstance(one.value, Total) and one.value.lines == EACH for one in found)
    else:
        assert all(isinstance(one.value, OneLine) for one in found)


NOTE = (
    "from opening to settled; the peer folds the first 12,000 of these events (its rate does not rise later); raw: the "
    "same fold by hand, a page a transaction"
)

PLAIN = Workload(
    "projection",
    (Metric("rate", "projection, 5,000 rows, no index", aim=Aim(60, "≥ 60x the peer", "peer")),),
    partial(_projecting, indexed=False),
    NOTE,
    warm=False,
)
INDEXED = Workload(
    "projection-indexed",
    (Metric("rate", "projection, 100,000 rows, two indexes", aim=Aim(15, "≥ 15x the peer", "peer")),),
    partial(_projecting, indexed=True),
    NOTE,
    warm=False,
)
