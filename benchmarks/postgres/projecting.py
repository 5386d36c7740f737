"""Projections: a log that is there is folded into rows, which are committed with the checkpoint."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any

import msgspec

from benchmarks.measure import Aim, Bench, Metric, Sample, Side, Workload
from benchmarks.ours import LineAdded, Ours
from benchmarks.ours_rows import Total, totals_named
from benchmarks.peer import Peer
from benchmarks.postgres import library
from benchmarks.postgres.bare import Bare
from benchmarks.postgres.emmett import Emmett
from benchmarks.postgres.packages import fetched
from benchmarks.postgres.writing import on

EACH = 20  # events of a stream
PAGE = 4_096  # events a transaction, as Foldlog folds them
UPSERT = """
INSERT INTO totals SELECT * FROM unnest(%b::text[], %b::bytea[])
ON CONFLICT (key) DO UPDATE SET value = excluded.value
"""
CHECKPOINT = "INSERT INTO checkpoint VALUES (%b, %b) ON CONFLICT (name) DO UPDATE SET position = excluded.position"


def fold(held: dict[str, Total], key: str, event: LineAdded) -> None:
    row = held.get(key)
    held[key] = (
        Total(1, event.quantity, event.sku)
        if row is None
        else Total(row.lines + 1, row.quantity + event.quantity, event.sku)
    )


def _fold_all(bare: Bare) -> int:
    """Read, fold in memory and write back, a page a transaction: what a program without a framework would do."""
    decode = msgspec.json.Decoder(LineAdded).decode
    encode = msgspec.json.Encoder().encode
    held: dict[str, Total] = {}
    seen = 0
    bare.conn.execute("TRUNCATE totals")
    for page in bare.pages(PAGE):
        touched = set()
        for _, stream, body in page:
            key = str(stream)
            fold(held, key, decode(body))
            touched.add(key)
        with bare.conn.transaction():
            keys = sorted(touched)
            bare.conn.execute(UPSERT, (keys, [encode(held[key]) for key in keys]))
            bare.conn.execute(CHECKPOINT, ("totals", page[-1][0]))
        seen += len(page)
    return seen


class Folding:
    """The sides over logs that are there; each round folds them anew."""

    def __init__(self, bench: Bench, stack: ExitStack) -> None:
        self._sizes, self._url = bench.sizes, bench.url("projection")
        events = bench.sizes.projected
        self._turns = count()
        with Ours(self._url) as ours:
            ours.run(ours.fill(events, events // EACH))
        self._bare = stack.enter_context(Bare(on(bench).database("projection-bare").conninfo))
        self._bare.fill(events, events // EACH)

    def ours(self) -> Sample:
        """A projection that the store has not seen before, from opening to having seen everything."""
        rows = totals_named(f"totals{next(self._turns)}")
        events = self._sizes.projected
        begin = time.perf_counter()
        with Ours(self._url, rows) as ours:
            ours.run(ours.app.settle(600))
            taken = time.perf_counter() - begin
            found = ours.run(ours.app.find(rows, limit=events // EACH))
            assert len(found) == events // EACH
            assert all(isinstance(one.value, Total) and one.value.lines == EACH for one in found)
        return {"rate": events / taken}

    def raw(self) -> Sample:
        begin = time.perf_counter()
        seen = _fold_all(self._bare)
        taken = time.perf_counter() - begin
        assert seen == self._sizes.projected
        return {"rate": seen / taken}


def _library(env: dict[str, str], events: int, turn: int) -> Sample:
    class Turn(library.Rows):
        name = f"rows{turn}"

        def __init__(self, view: Any) -> None:
            super().__init__(view)
            self.upto = events

    begin = time.perf_counter()
    with library.start(env, Turn) as running:
        rows = running.projection
        assert isinstance(rows, Turn)
        assert rows.done.wait(600)
        return {"rate": events / (time.perf_counter() - begin)}


@contextmanager
def projection(bench: Bench) -> Iterator[dict[str, Side]]:
    sizes, server, turns = bench.sizes, on(bench), count()
    with ExitStack() as stack:
        folding = Folding(bench, stack)
        sides: dict[str, Side] = {"ours": folding.ours}
        env = library.environment(server.database("projection-library"), functions=True)
        with Peer(env) as peer:
            peer.fill(sizes.projected_peer, sizes.projected_peer // EACH)
        sides[library.PLAIN] = lambda: _library(env, sizes.projected_peer, next(turns))
        if packages := fetched():
            emmett = stack.enter_context(Emmett(server.database("projection-emmett"), packages))
            fewer = sizes.projected_node
            emmett.ask("fill", count=fewer, streams=fewer // EACH)
            sides["peer emmett"] = lambda: emmett.ask("projection", count=fewer, turn=next(turns))
        yield {**sides, "raw": folding.raw}


PROJECTION = Workload(
    "projection",
    (Metric("rate", "projection, rows and checkpoint", aim=Aim(15, "≥ 15x the fastest peer", "peer")),),
    projection,
    "ours: from opening to settled, 100,000 events into 5,000 rows; the peers fold fewer (their rate does not rise "
    "later); message-db has no projections; raw: the same fold by hand, a page a transaction",
    warm=False,
)
