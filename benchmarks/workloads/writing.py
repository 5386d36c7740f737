"""Appends: one writer, 64 senders through the store and through the app, 100 events at once."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice

from benchmarks.measure import Aim, Bench, Metric, Sample, Side, Workload
from benchmarks.ours import AddLine, Ours, added
from benchmarks.peer import Order, Peer
from benchmarks.peer import added as peer_added
from benchmarks.raw import Raw, rows
from benchmarks.sample import line

SENDERS_AT_ONCE = 64
EVENTS_AT_ONCE = 100
SINGLE_STREAMS = 16


class Sender:
    """A stream of its own, and its version; everything it sends is made before the clock starts."""

    def __init__(self, name: str) -> None:
        self.stream, self.version = f"order-{name}", 0

    async def append(self, ours: Ours, events: Sequence[object], *, tagged: bool = False, each: int = 1) -> None:
        left = iter(events)
        while group := list(islice(left, each)):
            self.version = await ours.append(self.stream, self.version, group, tagged=tagged)  # type: ignore[arg-type]  # made by `added`


def _rate(events: int, work: Callable[[], object]) -> Sample:
    begin = time.perf_counter()
    work()
    return {"rate": events / (time.perf_counter() - begin)}


def _threads(works: Sequence[Callable[[], None]]) -> None:
    """Run each in a thread of its own, and wait for all."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def _one_writer(bench: Bench) -> Iterator[dict[str, Side]]:
    events, numbers = bench.sizes.single, count()
    with Ours(bench.path("one-ours")) as ours, Peer(bench.path("one-peer")) as peer, Raw(bench.path("one-raw")) as raw:
        senders = [Sender(str(number)) for number in range(SINGLE_STREAMS)]
        orders = peer.new_orders(SINGLE_STREAMS)
        versions = {one.id: one.version for one in orders}

        def by_ours() -> Sample:
            ready = [added(number) for number in islice(numbers, events)]

            async def work() -> None:
                for number, one in enumerate(ready):
                    await senders[number % SINGLE_STREAMS].append(ours, [one])

            return _rate(events, lambda: ours.run(work()))

        def by_peer() -> Sample:
            ready = []
            for number in islice(numbers, events):
                id = orders[number % SINGLE_STREAMS].id
                versions[id] += 1
                ready.append(peer_added(number, id, versions[id]))
            return _rate(events, lambda: [peer.shop.events.put([one]) for one in ready])

        def by_raw() -> Sample:
            ready = rows(islice(numbers, events), SINGLE_STREAMS)
            return _rate(events, lambda: raw.groups(ready, 1))

        yield {"ours": by_ours, "peer": by_peer, "raw": by_raw}


def _senders(tagged: bool) -> Callable[[Bench], "contextmanager[dict[str, Side]]"]:  # type: ignore[type-arg]  # below
    raise NotImplementedError


