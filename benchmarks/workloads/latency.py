"""Live latency: from the begin of an append to the row being read, one after the other."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count, islice
from uuid import UUID

from eventsourcing.system import NewSingleThreadedRunner, Runner, SingleThreadedRunner

from benchmarks import ours_work as work
from benchmarks.measure import Aim, Bench, Metric, Sample, Side, Workload
from benchmarks.ours import Ours
from benchmarks.ours_rows import totals
from benchmarks.peer import Order, Shop
from benchmarks.peer_rows import PlainRows, recorder, start
from benchmarks.sample import line


@contextmanager
def live(bench: Bench) -> Iterator[dict[str, Side]]:
    numbers = count()
    with ExitStack() as stack:
        ours = stack.enter_context(Ours(bench.url("live-ours"), totals))
        sides: dict[str, Side] = {"ours": partial(work.live, ours, totals, numbers, bench.sizes.latencies)}
        runners: dict[str, type[Runner[UUID]]] = {
            "peer runner": SingleThreadedRunner[UUID],
            "peer new-runner": NewSingleThreadedRunner[UUID],
        }
        for name, runner in runners.items():
            short = name.replace(" ", "-")
            running = start(runner, PlainRows, bench.path(f"live-{short}"), bench.path(f"live-{short}-view"))
            stack.callback(running.stop)
            sides[name] = _peer(running, numbers, bench.sizes.latencies)
        yield sides


def _peer(running: Runner[UUID], numbers: Iterator[int], times: int) -> Callable[[], Sample]:
    """These runners process in the thread that saves: when `save` returns, the row is there."""
    shop, view = running.get(Shop), recorder(running, PlainRows)
    orders = [Order() for _ in range(work.STREAMS)]
    shop.save(*orders)

    def saves() -> Sample:
        taken = []
        for number in islice(numbers, times):
            one, fields = orders[number % work.STREAMS], line(number)
            begin = time.perf_counter()
            one.add(*fields)
            shop.save(one)
            row = view.row(one.id.hex)
            taken.append(time.perf_counter() - begin)
            assert row["last"] == fields.sku
        return work.percentiles(taken)

    return saves


LIVE = Workload(
    "latency",
    (
        Metric("p50", "append → row readable, p50", " ms", False, Aim(0.5, "≤ half of the peer's", "peer", most=True)),
        Metric("p99", "append → row readable, p99", " ms", higher=False),
    ),
    live,
    "ours: app.send, then app.get(after=receipt); the peer: save with a runner in the same thread, then the row",
)
