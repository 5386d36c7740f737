"""Appends: one writer, 64 senders through the store and through the app, 100 events at once."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count, islice

from benchmarks import peer_work
from benchmarks.measure import Aim, Bench, Metric, Sample, Side, Workload
from benchmarks.ours import Ours
from benchmarks.ours_work import AT_ONCE, EVENTS_AT_ONCE, STREAMS, Writing, rate
from benchmarks.peer import Peer, environment
from benchmarks.raw import Raw, rows


class Stage:
    """The three sides of one workload, open, and numbers for ever new events."""

    def __init__(self, bench: Bench, name: str, open_here: ExitStack) -> None:
        self.numbers = count()
        self.ours = Writing(open_here.enter_context(Ours(bench.url(f"{name}-ours"))), self.numbers)
        peer = open_here.enter_context(Peer(environment(bench.path(f"{name}-peer"))))
        self.peer = peer_work.Writing(peer, self.numbers)
        self.raw = open_here.enter_context(Raw(bench.path(f"{name}-raw")))


@contextmanager
def one_writer(bench: Bench) -> Iterator[dict[str, Side]]:
    events = bench.sizes.single
    with ExitStack() as stack:
        stage = Stage(bench, "one", stack)

        def raw() -> Sample:
            ready = rows(islice(stage.numbers, events), STREAMS)
            return rate(events, lambda: stage.raw.groups(ready, 1))

        yield {
            "ours": lambda: stage.ours.one_writer(events),
            "peer": lambda: stage.peer.one_writer(events),
            "raw": raw,
        }


@contextmanager
def _senders(bench: Bench, *, tagged: bool) -> Iterator[dict[str, Side]]:
    events, fewer = bench.sizes.ours_concurrent, bench.sizes.peer_concurrent
    with ExitStack() as stack:
        stage = Stage(bench, "tagged" if tagged else "senders", stack)

        def raw() -> Sample:
            ready = rows(islice(stage.numbers, events), AT_ONCE, tagged=tagged)
            return rate(events, lambda: stage.raw.groups(ready, AT_ONCE))

        yield {
            "ours": lambda: stage.ours.senders(events, tagged=tagged),
            "peer 1 thread": lambda: stage.peer.senders(fewer, 1),
            "peer 64 threads": lambda: stage.peer.senders(fewer),
            "raw": raw,
        }


@contextmanager
def commands(bench: Bench) -> Iterator[dict[str, Side]]:
    commands, fewer = bench.sizes.ours_concurrent, bench.sizes.peer_concurrent
    with ExitStack() as stack:
        stage = Stage(bench, "commands", stack)
        yield {
            "ours": lambda: stage.ours.commands(commands),
            "remembered": lambda: stage.ours.commands(commands, remembered=True),
            "peer 1 thread": lambda: stage.peer.commands(fewer, 1),
            "peer 64 threads": lambda: stage.peer.commands(fewer),
        }


@contextmanager
def hundreds(bench: Bench) -> Iterator[dict[str, Side]]:
    times = bench.sizes.hundreds
    with ExitStack() as stack:
        stage = Stage(bench, "hundreds", stack)

        def raw() -> Sample:
            events = times * EVENTS_AT_ONCE
            ready = rows([one // EVENTS_AT_ONCE for one in islice(stage.numbers, events)], STREAMS)
            return rate(events, lambda: stage.raw.groups(ready, EVENTS_AT_ONCE))

        yield {
            "ours": lambda: stage.ours.hundreds(times),
            "peer": lambda: stage.peer.hundreds(times),
            "raw": raw,
        }


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
