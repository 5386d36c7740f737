"""Live latency: from the begin of an append to its row in the table, folded by another process, one after the other.

Of ours it ends when `app.get(after=receipt)` has read the row in the process that appended; of eventsourcing and of the
raw limit already when the folding process has committed it. Emmett's reader polls, so its rows are polled for.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count, islice
from types import TracebackType
from typing import Self

from benchmarks import ours_work as work
from benchmarks.measure import Aim, Bench, Metric, Sample, Side, Workload
from benchmarks.ours import Ours
from benchmarks.ours_rows import totals
from benchmarks.peer import Peer
from benchmarks.postgres import library
from benchmarks.postgres.bare import TIME, Bare
from benchmarks.postgres.emmett import Emmett
from benchmarks.postgres.packages import fetched
from benchmarks.postgres.writing import on
from benchmarks.raw import rows
from benchmarks.sample import line
from benchmarks.workloads.reading import ROOT

APPEND = """
WITH e AS (
    INSERT INTO events VALUES (nextval('positions'), %b::bigint, %b::bigint, 1, %b::bigint, '', %b, %b)
)
SELECT pg_notify('appended', '')
"""


class Follower:
    """A process that folds; see follower.py."""

    def __init__(self, side: str, place: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.postgres.follower", side, place],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        self._process.communicate()

    def folded(self) -> float:
        """When it had committed the next event."""
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def _times(append: Callable[[int], object], follower: Follower, numbers: Iterator[int], times: int) -> Sample:
    taken = []
    for number in islice(numbers, times):
        begin = time.perf_counter()
        append(number)
        taken.append(follower.folded() - begin)
    return work.percentiles(taken)


def _library(bench: Bench, stack: ExitStack, *, functions: bool) -> Side:
    short = "functions" if functions else "plain"
    env = library.environment(on(bench).database(f"live-{short}"), functions=functions)
    peer = stack.enter_context(Peer(env))
    orders = peer.new_orders(work.STREAMS)
    follower = stack.enter_context(Follower("peer", json.dumps(env)))
    numbers = count()

    def append(number: int) -> None:
        one = orders[number % work.STREAMS]
        one.add(*line(number))
        peer.shop.save(one)

    return lambda: _times(append, follower, numbers, bench.sizes.latencies)


def _bare(bench: Bench, stack: ExitStack) -> Side:
    database = on(bench).database("live-bare")
    bare = stack.enter_context(Bare(database.conninfo))
    follower = stack.enter_context(Follower("bare", database.conninfo))
    numbers, versions = count(), dict.fromkeys(range(work.STREAMS), 0)

    def append(number: int) -> None:
        ((stream, meta, body, _),) = rows([number], work.STREAMS)
        versions[stream] += 1
        bare.conn.execute(APPEND, (stream, versions[stream], TIME, meta, body))

    return lambda: _times(append, follower, numbers, bench.sizes.latencies)


@contextmanager
def live(bench: Bench) -> Iterator[dict[str, Side]]:
    with ExitStack() as stack:
        numbers = count()
        url = bench.url("live")
        ours = stack.enter_context(Ours(url, totals, run=False))
        stack.enter_context(Follower("ours", url))
        sides: dict[str, Side] = {"ours": lambda: work.live(ours, totals, numbers, bench.sizes.latencies)}
        for name, functions in ((library.PLAIN, False), (library.FUNCTIONS, True)):
            sides[name] = _library(bench, stack, functions=functions)
        if packages := fetched():
            database = on(bench).database("live-emmett")
            stack.enter_context(Emmett(database, packages)).ask("follow")
            emmett = stack.enter_context(Emmett(database, packages))
            sides["peer emmett"] = lambda: work.percentiles(
                emmett.ask("live", count=bench.sizes.latencies_node)["times"]
            )
        yield {**sides, "raw": _bare(bench, stack)}


AIM = Aim(0.6, "≤ 0.6x the fastest peer's", "peer", most=True)
LIVE = Workload(
    "latency",
    (
        Metric(
            "p50",
            "append → row, other process, p50",
            " ms",
            False,
            Aim(0.6, "≤ 0.6x the fastest peer's", "peer", most=True),
        ),
        Metric("p99", "append → row, other process, p99", " ms", higher=False),
    ),
    live,
    "ours: from app.send to app.get(after=receipt) having read the row; eventsourcing and raw: to the row's commit; "
    "Emmett polls, ever more slowly while nothing comes; message-db has no projections",
)
