"""Appends: one writer, 64 senders through the app, 100 events at once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from benchmarks import peer_work
from benchmarks.measure import Aim, Bench, Metric, Side, Workload
from benchmarks.ours import Ours
from benchmarks.ours_work import AT_ONCE, Writing
from benchmarks.peer import Peer
from benchmarks.postgres import library
from benchmarks.postgres.bare import Bare
from benchmarks.postgres.emmett import Emmett
from benchmarks.postgres.message_db import MessageDb
from benchmarks.postgres.packages import fetched
from benchmarks.postgres.server import Server


class Stage:
    """The sides of one workload, each with a database of its own."""

    def __init__(self, bench: Bench, name: str, stack: ExitStack, pool: int = 5) -> None:
        self.server = server = on(bench)
        self.ours = Writing(stack.enter_context(Ours(bench.url(name))))
        self.bare = stack.enter_context(Bare(server.database(f"{name}-bare").conninfo))
        self.library: dict[str, peer_work.Writing] = {}
        for side, short, functions in ((library.PLAIN, "plain", False), (library.FUNCTIONS, "functions", True)):
            env = library.environment(server.database(f"{name}-{short}"), functions=functions, pool=pool)
            self.library[side] = peer_work.Writing(stack.enter_context(Peer(env)))
        self.message_db: list[MessageDb] = []
        self.emmett: list[Emmett] = []
        if packages := fetched():
            self.message_db.append(stack.enter_context(MessageDb(server.database(f"{name}-message-db"), packages)))
            self.emmett.append(stack.enter_context(Emmett(server.database(f"{name}-emmett"), packages)))


def on(bench: Bench) -> Server:
    """The server; these workloads have one."""
    assert bench.server is not None
    return bench.server


@contextmanager
def one_writer(bench: Bench) -> Iterator[dict[str, Side]]:
    events = bench.sizes.single
    with ExitStack() as stack:
        stage = Stage(bench, "one", stack)
        asked = [partial(emmett.ask, "one-writer", count=events) for emmett in stage.emmett]
        yield _sides(stage, lambda side: partial(side.one_writer, events), asked)


@contextmanager
def commands(bench: Bench) -> Iterator[dict[str, Side]]:
    events, fewer = bench.sizes.ours_concurrent, bench.sizes.peer_concurrent
    with ExitStack() as stack:
        stage = Stage(bench, "commands", stack, pool=AT_ONCE)
        sides: dict[str, Side] = {
            "ours": lambda: stage.ours.commands(events),
            "remembered": lambda: stage.ours.commands(events, remembered=True),
        }
        for name, work in stage.library.items():
            sides[f"{name}, 64 threads"] = partial(work.commands, fewer)
        sides[f"{library.FUNCTIONS}, 8 threads"] = partial(stage.library[library.FUNCTIONS].commands, fewer, 8)
        for message_db in stage.message_db:
            sides["peer message-db, 64 connections"] = partial(message_db.senders, fewer, 64)
            sides["peer message-db, 8 connections"] = partial(message_db.senders, fewer, 8)
        for emmett in stage.emmett:
            sides["peer emmett"] = partial(emmett.ask, "senders", count=fewer)
        yield {**sides, "raw": lambda: stage.bare.senders(events)}


@contextmanager
def hundreds(bench: Bench) -> Iterator[dict[str, Side]]:
    times = bench.sizes.hundreds
    with ExitStack() as stack:
        stage = Stage(bench, "hundreds", stack)
        asked = [partial(emmett.ask, "hundreds", times=times) for emmett in stage.emmett]
        yield _sides(stage, lambda side: partial(side.hundreds, times), asked)


def _sides(stage: Stage, work: Callable[[Any], Side], asked: Sequence[Side]) -> dict[str, Side]:
    """The same work by every side that is there; `asked` is that of Emmett, which runs in node."""
    sides = {"ours": work(stage.ours)}
    for name, library_work in stage.library.items():
        sides[name] = work(library_work)
    for message_db in stage.message_db:
        sides["peer message-db"] = work(message_db)
    for emmett in asked:
        sides["peer emmett"] = emmett
    return {**sides, "raw": work(stage.bare)}


ONE_WRITER = Workload(
    "one-writer",
    (
        Metric("rate", "one writer, one event a commit", aim=Aim(1, "≥ the fastest peer", "peer")),
        Metric("rate", "… the same", aim=Aim(0.7, "≥ 70 % of raw", "raw")),
    ),
    one_writer,
    "raw: an INSERT that checks the version",
)
COMMANDS = Workload(
    "commands",
    (Metric("rate", "64 senders through app.send", aim=Aim(6, "≥ 6x the fastest peer", "peer")),),
    commands,
    "ours decides, checks and encodes; eventsourcing saves aggregates at hand, message-db and Emmett append to a known "
    "version. remembered: with a command id that is kept for its window. raw: 64 events a statement",
)
HUNDREDS = Workload(
    "hundreds",
    (Metric("rate", "100 events an append", aim=Aim(2, "≥ 2x the fastest peer", "peer")),),
    hundreds,
    "message-db: 100 calls in a transaction, in psycopg's pipeline mode",
)
