"""Four functions, shared by one, two and four processes: a burst of events, from its begin to all of it folded."""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from benchmarks.measure import Aim, Bench, Metric, Sample, Side, Workload
from benchmarks.ours import FILL_EVENTS, Ours
from benchmarks.ours_rows import Total
from benchmarks.postgres.worker import FUNCTIONS
from benchmarks.workloads.reading import ROOT
from foldlog.flow.lease import checkpoints
from foldlog.flow.partition import ALL, partition_of
from foldlog.model.query import Query

STREAMS = 1_000
LOOK = 0.01  # seconds between two looks at the checkpoints


class Workers:
    """So many processes on an empty store; `fold` says how fast they are together, and what they got wrong."""

    def __init__(self, url: str, number: int) -> None:
        self._url, self._number = url, number

    def fold(self, events: int) -> tuple[float, int]:
        with Ours(self._url, *FUNCTIONS, run=False) as ours:
            line = [sys.executable, "-m", "benchmarks.postgres.worker", self._url]
            running = [subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(self._number)]
            try:
                for one in running:
                    assert one.stdout is not None
                    assert one.stdout.readline() == b"ready\n"
                ours.run(self._shared(ours))
                begin = time.perf_counter()
                ours.run(ours.fill(events, STREAMS))
                ours.run(self._folded(ours))
                taken = time.perf_counter() - begin
                return events * len(FUNCTIONS) / taken, ours.run(self._wrong(ours, events))
            finally:
                for one in running:
                    one.terminate()
                for one in running:
                    one.communicate()

    async def _shared(self, ours: Ours) -> None:
        """Until each process has its share of each function."""
        for function in FUNCTIONS:
            while True:
                found = await checkpoints(ours.app.system.store, function.table)
                held = Counter(one.owner for one in found.values())
                if len(found) == len(ALL) and len(held) == self._number and max(held.values()) - min(held.values()) < 2:
                    break
                await asyncio.sleep(LOOK)

    async def _folded(self, ours: Ours) -> None:
        """Until each partition of each function has seen its last event."""
        store = ours.app.system.store
        last: dict[int, int] = {}
        after = 0
        while (page := await store.read(Query(), after)).events:
            for one in page.events:
                last[partition_of("", one.key)] = after = one.position
        for function in FUNCTIONS:
            while True:
                found = await checkpoints(store, function.table)
                if all(found[partition].position >= position for partition, position in last.items()):
                    break
                await asyncio.sleep(LOOK)

    async def _wrong(self, ours: Ours, events: int) -> int:
        """Events that a row has folded more than once, or not at all."""
        expected = Counter[str]()
        for first in range(0, events, FILL_EVENTS):
            expected[str(first // FILL_EVENTS % STREAMS)] += FILL_EVENTS
        wrong = 0
        for function in FUNCTIONS:
            for key, lines in expected.items():
                row = await ours.app.get(function, key)
                wrong += abs(lines - (row.lines if isinstance(row, Total) else 0))
        return wrong


@contextmanager
def sharing(bench: Bench) -> Iterator[dict[str, Side]]:
    turns = count()

    def ours() -> Sample:
        found: Sample = {"wrong": 0}
        for number in (1, 2, 4):
            rate, wrong = Workers(bench.url(f"shared-{next(turns)}"), number).fold(bench.sizes.shared)
            found[f"rate{number}"] = rate
            found["wrong"] += wrong
        return {**found, "growth": found["rate2"] / found["rate1"]}

    yield {"ours": ours}


SHARING = Workload(
    "workers",
    (
        Metric("rate1", "4 functions, 1 worker"),
        Metric("rate2", "… 2 workers"),
        Metric("rate4", "… 4 workers"),
        Metric("growth", "… 2 workers over 1", "x"),
        Metric("wrong", "… events folded twice or not at all", "", False, Aim(0, "0", most=True)),
    ),
    sharing,
    "events times functions a second, from the begin of a burst of appends, which takes its part of the processors",
    warm=False,
)
