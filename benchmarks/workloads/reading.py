"""Reads: streams of 1,000 events into state, and the whole log, decoded, in a process of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import ours_work as work
from benchmarks import peer_work
from benchmarks.measure import Aim, Bench, Metric, Sample, Side, Workload
from benchmarks.ours import Ours
from benchmarks.peer import Peer, environment
from benchmarks.raw import Raw

LOG_STREAMS = 10_000
ROOT = Path(__file__).parents[2]


@contextmanager
def rehydrate(bench: Bench) -> Iterator[dict[str, Side]]:
    sizes = bench.sizes
    streams, each = sizes.rehydrated, sizes.stream_events
    place = bench.url("streams-ours")
    with Ours(place) as writer:
        writer.run(writer.fill(streams * each, streams))
    with Peer(environment(bench.path("streams-peer"))) as peer, Raw(bench.path("streams-raw")) as raw:
        ids = peer.fill(sizes.rehydrated_peer * each, sizes.rehydrated_peer)
        raw.fill(streams * each, streams)

        def by_raw() -> Sample:
            begin = time.perf_counter()
            count = 0
            for stream in range(streams):
                count += len(
                    raw.conn.execute("SELECT * FROM events WHERE stream = ? ORDER BY version", (stream,)).fetchall()
                )
            taken = time.perf_counter() - begin
            assert count == streams * each
            return {"rate": count / taken}

        yield {
            "ours": lambda: work.rehydrate(place, streams, each),
            "peer": lambda: peer_work.rehydrate(peer, ids, each),
            "raw": by_raw,
        }


def child(side: str, place: str) -> Sample:
    """What `benchmarks.child` measures in a new process."""
    line = [sys.executable, "-m", "benchmarks.child", side, place]
    done = subprocess.run(line, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    sample: Sample = json.loads(done.stdout)
    return sample


@contextmanager
def whole_log(bench: Bench) -> Iterator[dict[str, Side]]:
    events = bench.sizes.log_events
    paths = {side: bench.path(f"log-{side}") for side in ("peer", "raw")}
    url = bench.url("log-ours")
    with Ours(url) as ours:
        ours.run(ours.fill(events, LOG_STREAMS))
    with Peer(environment(paths["peer"])) as peer:
        peer.fill(events, LOG_STREAMS)
    with Raw(paths["raw"]) as raw:
        raw.fill(events, LOG_STREAMS)
    yield {
        "ours": lambda: child("ours", url),
        "peer": lambda: child("peer", json.dumps(environment(paths["peer"]))),
        "raw": lambda: child("raw", str(paths["raw"])),
    }


REHYDRATE = Workload(
    "rehydrate",
    (Metric("rate", "rehydrate a stream of 1,000 events", aim=Aim(14, "≥ 14x the peer", "peer")),),
    rehydrate,
    "raw: rows fetched, nothing decoded",
)
WHOLE_LOG = Workload(
    "whole-log",
    (
        Metric("rate", "read the whole log, decoded", aim=Aim(6, "≥ 6x the peer", "peer")),
        Metric("memory", "memory over start while reading", " MB", higher=False, aim=Aim(60, "≤ 60 MB", most=True)),
    ),
    whole_log,
    "raw: rows fetched, nothing decoded",
    warm=False,
)
