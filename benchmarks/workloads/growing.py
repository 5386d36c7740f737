"""Growth: what an event costs while the log grows from ten thousand events to a million, in groups of 64 senders."""

import time
from asyncio import gather
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count

from benchmarks.measure import Aim, Bench, Metric, Sample, Side, Sizes, Workload
from benchmarks.ours import Ours, added
from benchmarks.raw import Raw, rows

AT_ONCE = 64
FIXED_STREAMS = 1_024
EVENTS_OF_NEW = 10  # events of a stream before the next one begins


def stream_of(number: int, *, fixed: bool) -> int:
    """The stream of the event with this number; events that are on their way together have different ones."""
    if fixed:
        return number % FIXED_STREAMS
    return number // (AT_ONCE * EVENTS_OF_NEW) * AT_ONCE + number % AT_ONCE


class Growth:
    """Writes ever more events; `write(events)` says what one of them took, in microseconds."""

    def __init__(self, ours: Ours, *, fixed: bool) -> None:
        self._ours, self._fixed, self._done = ours, fixed, 0
        self._versions: dict[int, int] = {}

    def write(self, events: int) -> float:
        first, each = self._done, events // AT_ONCE
        self._done += each * AT_ONCE

        async def sender(lane: int) -> None:
            for number in range(first + lane, first + lane + each * AT_ONCE, AT_ONCE):
                stream = stream_of(number, fixed=self._fixed)
                version = self._versions.get(stream, 0)
                self._versions[stream] = await self._ours.append(f"order-{stream}", version, [added(number)])

        async def work() -> None:
            await gather(*[sender(lane) for lane in range(AT_ONCE)])

        begin = time.perf_counter()
        self._ours.run(work())
        return (time.perf_counter() - begin) / (each * AT_ONCE) * 1e6


class RawGrowth:
    """The same with plain SQLite, 64 events a transaction."""

    def __init__(self, raw: Raw, *, fixed: bool) -> None:
        self._raw, self._fixed, self._done = raw, fixed, 0

    def write(self, events: int) -> float:
        taken, end = 0.0, self._done + events // AT_ONCE * AT_ONCE
        for first in range(self._done, end, AT_ONCE):
            numbers = range(first, first + AT_ONCE)
            ready = [
                row._replace(stream=stream_of(number, fixed=self._fixed))
                for number, row in zip(numbers, rows(numbers, 1), strict=True)
            ]
            begin = time.perf_counter()
            self._raw.append(ready)
            taken += time.perf_counter() - begin
        self._done = end
        return taken / events * 1e6


def _slices(write: Callable[[int], float], sizes: Sizes) -> Sample:
    write(sizes.growth_from)
    first = write(sizes.growth_slice)
    write(sizes.growth_to - sizes.growth_from - 2 * sizes.growth_slice)
    last = write(sizes.growth_slice)
    return {"first": first, "last": last, "growth": last / first}


@contextmanager
def _growing(bench: Bench, *, fixed: bool) -> Iterator[dict[str, Side]]:
    name = "growth" if fixed else "growth-streams"
    turns = count()

    def ours() -> Sample:
        with Ours(bench.url(f"{name}-ours-{next(turns)}")) as opened:
            return _slices(Growth(opened, fixed=fixed).write, bench.sizes)

    def raw() -> Sample:
        with Raw(bench.path(f"{name}-raw-{next(turns)}")) as opened:
            return _slices(RawGrowth(opened, fixed=fixed).write, bench.sizes)

    yield {"ours": ours, "raw": raw}


def _metrics(what: str, aim: Aim | None) -> tuple[Metric, ...]:
    return (
        Metric("growth", f"growth to 1 million events, {what}", "x", higher=False, aim=aim),
        Metric("first", "… an event at 10,000", " µs", higher=False),
        Metric("last", "… an event at 1 million", " µs", higher=False),
    )


FIXED = Workload(
    "growth",
    _metrics("1,024 streams", Aim(1.3, "≤ 1.3x", most=True)),
    partial(_growing, fixed=True),
    "64 senders; cost of an event in the last slice over the first one",
    warm=False,
)
NEW_STREAMS = Workload(
    "growth-streams",
    _metrics("ever new streams", None),
    partial(_growing, fixed=False),
    "64 senders; a stream for every 10 events",
    warm=False,
)
