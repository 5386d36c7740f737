"""Reads: streams of 1,000 events into state, and the whole log, decoded, in a process of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import Aim, Bench, Metric, Sample, Side, Workload
from benchmarks.ours import Ours, order
from benchmarks.peer import Order, Peer
from benchmarks.raw import Raw

LOG_STREAMS = 10_000
ROOT = Path(__file__).parents[2]


@contextmanager
def rehydrate(bench: Bench) -> Iterator[dict[str, Side]]:
    sizes = bench.sizes
    streams, each = sizes.rehydrated, sizes.stream_events
    place = bench.path("streams-ours")
    with Ours(place) as writer:
        writer.run(writer.fill(streams * each, streams))
    with Peer(bench.path("streams-peer")) as peer, Raw(bench.path("streams-raw")) as raw:
        ids = peer.fill(sizes.rehydrated_peer * each, sizes.rehydrated_peer)
        raw.fill(streams * each, streams)

        def by_ours() -> Sample:
            async def load(ours: Ours) -> float:
                begin = time.perf_counter()
                states = [await ours.app.get(order, str(number)) for number in range(streams)]
                taken = time.perf_counter() - begin
                assert all(states)
                return taken

            with Ours(place) as ours:  # a new app knows no state yet
                return {"rate": streams * each / ours.run(load(ours))}

        def by_peer() -> Sample:
            begin = time.perf_counter()
            found: list[Order] = [peer.shop.repository.get(one) for one in ids]
            taken = time.perf_counter() - begin
            assert len(found) == len(ids)
            return {"rate": len(ids) * each / taken}

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

        yield {"ours": by_ours, "peer": by_peer, "raw": by_raw}


def child(side: str, path: Path) -> Sample:
    """What `benchmarks.child` measures in a new process."""
    line = [sys.executable, "-m", "benchmarks.child", side, str(path)]
    done = subprocess.run(line, cwd=ROOT, check=True, capture_output=True, text=True)
    sample: Sample = json.loads(done.stdout)
    return sample


@contextmanager
def whole_log(bench: Bench) -> Iterator[dict[str, Side]]:
    events = bench.sizes.log_events
    paths = {side: bench.path(f"log-{side}") for side in ("ours", "peer", "raw")}
    with Ours(paths["ours"]) as ours:
        ours.run(ours.fill(events, LOG_STREAMS))
    with Peer(paths["peer"]) as peer:
        peer.fill(events, LOG_STREAMS)
    with Raw(paths["raw"]) as raw:
        raw.fill(events, LOG_STREAMS)
    yield {
        "ours": lambda: child("ours", paths["ours"]),
        "peer": lambda: child("peer", paths["peer"]),
        "raw": lambda: child("raw", paths["raw"]),
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
