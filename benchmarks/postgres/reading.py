"""Reads: streams of 1,000 events into state, and the whole log, each reader in a process of its own."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from benchmarks import ours_work, peer_work
from benchmarks.measure import Aim, Bench, Metric, Side, Workload
from benchmarks.ours import Ours
from benchmarks.peer import Peer
from benchmarks.postgres import library
from benchmarks.postgres.bare import Bare
from benchmarks.postgres.emmett import Emmett
from benchmarks.postgres.message_db import MessageDb, conninfo
from benchmarks.postgres.packages import fetched
from benchmarks.postgres.writing import on
from benchmarks.workloads.reading import child

LOG_STREAMS = 2_000
PAGE = 1_000  # messages that Emmett reads at once


@contextmanager
def rehydrate(bench: Bench) -> Iterator[dict[str, Side]]:
    sizes, server = bench.sizes, on(bench)
    streams, fewer, each = sizes.rehydrated, sizes.rehydrated_peer, sizes.stream_events
    with ExitStack() as stack:
        place = bench.url("streams")
        with Ours(place) as writer:
            writer.run(writer.fill(streams * each, streams))
        sides: dict[str, Side] = {"ours": lambda: ours_work.rehydrate(place, streams, each)}
        bare = stack.enter_context(Bare(server.database("streams-bare").conninfo))
        bare.fill(streams * each, streams)
        peer = stack.enter_context(Peer(library.environment(server.database("streams-library"), functions=True)))
        ids = peer.fill(fewer * each, fewer)
        sides[library.PLAIN] = lambda: peer_work.rehydrate(peer, ids, each)  # both modes read alike
        if packages := fetched():
            message_db = stack.enter_context(MessageDb(server.database("streams-message-db"), packages))
            message_db.fill(streams * each, streams)
            sides["peer message-db"] = partial(message_db.rehydrate, streams, each)
            emmett = stack.enter_context(Emmett(server.database("streams-emmett"), packages))
            emmett.ask("fill", count=fewer * each, streams=fewer)
            sides["peer emmett"] = partial(emmett.ask, "rehydrate", streams=fewer, each=each)
        yield {**sides, "raw": lambda: bare.rehydrate(streams, each)}


@contextmanager
def whole_log(bench: Bench) -> Iterator[dict[str, Side]]:
    events, fewer, server = bench.sizes.log_events, bench.sizes.log_events_peer, on(bench)
    with ExitStack() as stack:
        place = bench.url("log")
        with Ours(place) as ours:
            ours.run(ours.fill(events, LOG_STREAMS))
        sides: dict[str, Side] = {"ours": lambda: child("ours", place)}
        bare = server.database("log-bare")
        with Bare(bare.conninfo) as raw:
            raw.fill(events, LOG_STREAMS)
        env = library.environment(server.database("log-library"), functions=True)
        with Peer(env) as peer:
            peer.fill(fewer, LOG_STREAMS)
        sides[library.PLAIN] = lambda: child("peer", json.dumps(env))
        if packages := fetched():
            database = server.database("log-message-db")
            with MessageDb(database, packages) as message_db:
                message_db.fill(events, LOG_STREAMS)
            sides["peer message-db"] = lambda: child("message-db", conninfo(database))
            emmett = stack.enter_context(Emmett(server.database("log-emmett"), packages))
            emmett.ask("fill", count=fewer, streams=LOG_STREAMS)
            sides["peer emmett"] = partial(emmett.ask, "whole-log", page=PAGE)
        yield {**sides, "raw": lambda: child("bare", bare.conninfo)}


NOTE = "message-db's functions answer with bare rows, which are fetched and not decoded; raw: bare rows as well"
REHYDRATE = Workload(
    "rehydrate",
    (Metric("rate", "rehydrate a stream of 1,000 events", aim=Aim(1, "≥ message-db's bare rows", "peer")),),
    rehydrate,
    NOTE,
)
WHOLE_LOG = Workload(
    "whole-log",
    (
        Metric("rate", "read the whole log, typed events", aim=Aim(1, "≥ message-db's bare rows", "peer")),
        Metric("memory", "… memory over start", " MB", higher=False),
    ),
    whole_log,
    NOTE,
    warm=False,
)
