"""What our side does in the workloads that both engines have."""

import time
from asyncio import gather
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from statistics import quantiles
from typing import Any

from benchmarks.measure import Sample
from benchmarks.ours import AddLine, LineAdded, Ours, added, order
from benchmarks.sample import line

AT_ONCE = 64
EVENTS_AT_ONCE = 100
STREAMS = 16  # of the workloads with one writer


def rate(events: int, work: Callable[[], object]) -> Sample:
    """Events a second."""
    begin = time.perf_counter()
    work()
    return {"rate": events / (time.perf_counter() - begin)}


def percentiles(times: Sequence[float]) -> Sample:
    """Of seconds, in milliseconds."""
    cuts = quantiles(times, n=100, method="inclusive")
    return {"p50": cuts[49] * 1e3, "p99": cuts[98] * 1e3}


class Writing:
    """Appends of ever new events; what is written is made before the clock starts."""

    def __init__(self, ours: Ours, numbers: Iterator[int] | None = None) -> None:
        self._ours, self._numbers = ours, numbers or count()
        self._versions: dict[str, int] = {}

    def one_writer(self, events: int) -> Sample:
        ready = self._events(events)

        async def work() -> None:
            for number, one in enumerate(ready):
                await self._append(f"order-{number % STREAMS}", [one])

        return rate(events, lambda: self._ours.run(work()))

    def senders(self, events: int, *, tagged: bool = False) -> Sample:
        """64 at once, each to a stream of its own, through the store."""
        ready = [self._events(events // AT_ONCE) for _ in range(AT_ONCE)]

        async def sender(number: int) -> None:
            for one in ready[number]:
                await self._append(f"order-{number}", [one], tagged=tagged)

        async def work() -> None:
            await gather(*[sender(number) for number in range(AT_ONCE)])

        return rate(events, lambda: self._ours.run(work()))

    def commands(self, commands: int, *, remembered: bool = False) -> Sample:
        """64 at once, each to a stream of its own, through the app."""
        each = commands // AT_ONCE
        ready = [[AddLine(*line(one)) for one in islice(self._numbers, each)] for _ in range(AT_ONCE)]
        ids = [[f"command-{one}" if remembered else "" for one in islice(self._numbers, each)] for _ in ready]

        async def sender(number: int) -> None:
            for command, command_id in zip(ready[number], ids[number], strict=True):
                await self._ours.send(str(number), command, command_id)

        async def work() -> None:
            await gather(*[sender(number) for number in range(AT_ONCE)])

        return rate(each * AT_ONCE, lambda: self._ours.run(work()))

    def hundreds(self, times: int) -> Sample:
        ready = [self._events(EVENTS_AT_ONCE) for _ in range(times)]

        async def work() -> None:
            for number, events in enumerate(ready):
                await self._append(f"order-{number % STREAMS}", events)

        return rate(times * EVENTS_AT_ONCE, lambda: self._ours.run(work()))

    def _events(self, number: int) -> list[LineAdded]:
        return [added(one) for one in islice(self._numbers, number)]

    async def _append(self, stream: str, events: Sequence[LineAdded], *, tagged: bool = False) -> None:
        version = self._versions.get(stream, 0)
        self._versions[stream] = await self._ours.append(stream, version, events, tagged=tagged)


def rehydrate(url: str, streams: int, each: int) -> Sample:
    """Streams of `each` events into state, by an app that has seen none of them."""

    async def load(ours: Ours) -> float:
        begin = time.perf_counter()
        states = [await ours.app.get(order, str(number)) for number in range(streams)]
        taken = time.perf_counter() - begin
        assert all(states)
        return taken

    with Ours(url) as ours:
        return {"rate": streams * each / ours.run(load(ours))}


def live(ours: Ours, rows: Any, numbers: Iterator[int], times: int) -> Sample:
    """From the begin of `send` to the row being read, one after the other."""

    async def work() -> list[float]:
        taken = []
        for number in islice(numbers, times):
            key, command = str(number % STREAMS), AddLine(*line(number))
            begin = time.perf_counter()
            receipt = await ours.app.send(order, key, command)
            row = await ours.app.get(rows, key, after=receipt)
            taken.append(time.perf_counter() - begin)
            assert row is not None
            assert row.last == command.sku
        return taken

    return percentiles(ours.run(work()))
