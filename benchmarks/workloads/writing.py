"""Appends: one writer, 64 senders through the store and through the app, 100 events at once."""

import threading
import time
from asyncio import gather
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count, islice

from benchmarks.measure import Aim, Bench, Metric, Sample, Side, Workload
from benchmarks.ours import AddLine, LineAdded, Ours, added
from benchmarks.peer import Order, Peer
from benchmarks.peer import added as added_to_peer
from benchmarks.raw import Raw, rows
from benchmarks.sample import Line, line

AT_ONCE = 64
EVENTS_AT_ONCE = 100
STREAMS = 16  # of the workloads with one writer


class Stage:
    """The three sides of one workload, open, and numbers for ever new events."""

    def __init__(self, bench: Bench, name: str, open_here: ExitStack) -> None:
        self.numbers = count()
        self.ours = open_here.enter_context(Ours(bench.path(f"{name}-ours")))
        self.peer = open_here.enter_context(Peer(bench.path(f"{name}-peer")))
        self.raw = open_here.enter_context(Raw(bench.path(f"{name}-raw")))
        self._versions: dict[str, int] = {}

    def events(self, number: int) -> list[LineAdded]:
        return [added(one) for one in islice(self.numbers, number)]

    async def append(self, stream: str, events: Sequence[LineAdded], *, tagged: bool = False) -> None:
        version = self._versions.get(stream, 0)
        self._versions[stream] = await self.ours.append(stream, version, events, tagged=tagged)


def rate(events: int, work: Callable[[], object]) -> Sample:
    """Events a second."""
    begin = time.perf_counter()
    work()
    return {"rate": events / (time.perf_counter() - begin)}


def in_threads(works: Sequence[Callable[[], object]]) -> None:
    """Run each in a thread of its own and wait for all. An exception of one is raised."""
    errors: list[Exception] = []

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def events_for_peer(stage: Stage, order: Order, number: int) -> list[Order.LineAdded]:
    """The next events of one aggregate, made before the clock starts. `Order` itself is not told of them."""
    first = stage.peer.heads[order.id] + 1
    stage.peer.heads[order.id] += number
    return [added_to_peer(one, order.id, first + at) for at, one in enumerate(islice(stage.numbers, number))]


@contextmanager
def one_writer(bench: Bench) -> Iterator[dict[str, Side]]:
    events = bench.sizes.single
    with ExitStack() as stack:
        stage = Stage(bench, "one", stack)
        orders = stage.peer.new_orders(STREAMS)

        def ours() -> Sample:
            ready = stage.events(events)

            async def work() -> None:
                for number, one in enumerate(ready):
                    await stage.append(f"order-{number % STREAMS}", [one])

            return rate(events, lambda: stage.ours.run(work()))

        def peer() -> Sample:
            turns = [events_for_peer(stage, order, events // STREAMS) for order in orders]
            ready = [one for turn in zip(*turns, strict=True) for one in turn]
            return rate(len(ready), lambda: [stage.peer.shop.events.put([one]) for one in ready])

        def raw() -> Sample:
            ready = rows(islice(stage.numbers, events), STREAMS)
            return rate(events, lambda: stage.raw.groups(ready, 1))

        yield {"ours": ours, "peer": peer, "raw": raw}


@contextmanager
def _senders(bench: Bench, *, tagged: bool) -> Iterator[dict[str, Side]]:
    sizes = bench.sizes
    with ExitStack() as stack:
        stage = Stage(bench, "tagged" if tagged else "senders", stack)
        orders = stage.peer.new_orders(AT_ONCE)

        def ours() -> Sample:
            ready = [stage.events(sizes.ours_concurrent // AT_ONCE) for _ in range(AT_ONCE)]

            async def sender(number: int) -> None:
                for one in ready[number]:
                    await stage.append(f"order-{number}", [one], tagged=tagged)

            async def work() -> None:
                await gather(*[sender(number) for number in range(AT_ONCE)])

            return rate(sizes.ours_concurrent, lambda: stage.ours.run(work()))

        def peer(threads: int) -> Sample:
            each = sizes.peer_concurrent // threads
            ready = [events_for_peer(stage, order, each) for order in orders[:threads]]

            def sender(mine: list[Order.LineAdded]) -> None:
                for one in mine:
                    stage.peer.shop.events.put([one])

            return rate(each * threads, lambda: in_threads([partial(sender, mine) for mine in ready]))

        def raw() -> Sample:
            ready = rows(islice(stage.numbers, sizes.ours_concurrent), AT_ONCE, tagged=tagged)
            return rate(sizes.ours_concurrent, lambda: stage.raw.groups(ready, AT_ONCE))

        yield {"ours": ours, "peer 1 thread": lambda: peer(1), "peer 64 threads": lambda: peer(AT_ONCE), "raw": raw}


@contextmanager
def commands(bench: Bench) -> Iterator[dict[str, Side]]:
    sizes = bench.sizes
    with ExitStack() as stack:
        stage = Stage(bench, "commands", stack)
        orders = stage.peer.new_orders(AT_ONCE)

        def ours(*, remembered: bool = False) -> Sample:
            each = sizes.ours_concurrent // AT_ONCE
            ready = [[AddLine(*line(one)) for one in islice(stage.numbers, each)] for _ in range(AT_ONCE)]
            ids = [[f"command-{one}" if remembered else "" for one in islice(stage.numbers, each)] for _ in ready]

            async def sender(number: int) -> None:
                for command, command_id in zip(ready[number], ids[number], strict=True):
                    await stage.ours.send(str(number), command, command_id)

            async def work() -> None:
                await gather(*[sender(number) for number in range(AT_ONCE)])

            return rate(each * AT_ONCE, lambda: stage.ours.run(work()))

        def peer(threads: int) -> Sample:
            each = sizes.peer_concurrent // threads
            ready = [[line(one) for one in islice(stage.numbers, each)] for _ in range(threads)]

            def sender(order: Order, mine: list[Line]) -> None:
                for one in mine:
                    order.add(*one)
                    stage.peer.shop.save(order)

            works = [partial(sender, order, mine) for order, mine in zip(orders, ready, strict=False)]
            return rate(each * threads, lambda: in_threads(works))

        yield {
            "ours": ours,
            "remembered": lambda: ours(remembered=True),
            "peer 1 thread": lambda: peer(1),
            "peer 64 threads": lambda: peer(AT_ONCE),
        }


@contextmanager
def hundreds(bench: Bench) -> Iterator[dict[str, Side]]:
    events = bench.sizes.hundreds * EVENTS_AT_ONCE
    with ExitStack() as stack:
        stage = Stage(bench, "hundreds", stack)
        orders = stage.peer.new_orders(STREAMS)

        def ours() -> Sample:
            ready = stage.events(events)

            async def work() -> None:
                for number, first in enumerate(range(0, events, EVENTS_AT_ONCE)):
                    await stage.append(f"order-{number % STREAMS}", ready[first : first + EVENTS_AT_ONCE])

            return rate(events, lambda: stage.ours.run(work()))

        def peer() -> Sample:
            groups = [
                events_for_peer(stage, orders[number % STREAMS], EVENTS_AT_ONCE)
                for number in range(bench.sizes.hundreds)
            ]
            return rate(events, lambda: [stage.peer.shop.events.put(group) for group in groups])

        def raw() -> Sample:
            ready = rows([one // EVENTS_AT_ONCE for one in islice(stage.numbers, events)], STREAMS)
            return rate(events, lambda: stage.raw.groups(ready, EVENTS_AT_ONCE))

        yield {"ours": ours, "peer": peer, "raw": raw}


ONE_WRITER = Workload(
    "one-writer",
    (Metric("rate", "one writer, one event a commit", aim=Aim(0.65, "≥ 65 % of raw", "raw")),),
    one_writer,
)
SENDERS = Workload(
    "senders",
    (Metric("rate", "64 senders through the store", aim=Aim(18, "≥ 18x the peer", "peer")),),
    partial(_senders, tagged=False),
    "raw: 64 events a transaction",
)
TAGGED = Workload(
    "tagged",
    (Metric("rate", "64 senders, two tags an event", aim=Aim(9, "≥ 9x the peer", "peer")),),
    partial(_senders, tagged=True),
    "the peer has no tags and stores none; raw: 64 events a transaction",
)
COMMANDS = Workload(
    "commands",
    (Metric("rate", "64 senders through app.send", aim=Aim(10, "≥ 10x the peer's save", "peer")),),
    commands,
    "remembered: the same with a command id that is kept for its window, one row more for each command",
)
HUNDREDS = Workload(
    "hundreds",
    (Metric("rate", "100 events an append", aim=Aim(2, "≥ 2x the peer", "peer")),),
    hundreds,
)
