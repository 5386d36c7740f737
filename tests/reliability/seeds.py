"""Seeds of simulated apps, on every core: no invariant breaks, and runs are repeated byte for byte."""

import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from foldlog.testing.simulation import Simulation
from tests.reliability.processes import Result
from tests.simulation import bank, shop, transfers

_ROUND = 100  # of so many seeds one is the shop's: its fourteen functions take ten times as long; two are of processes
_AGAIN = 100  # of so many seeds two are run twice
_CHUNK = 50
_TELL = 1_000


class Tally(NamedTuple):
    """What a chunk of seeds came to."""

    events: int
    seconds: float
    fired: Counter[str]
    repeated: int
    faults: list[str]


def simulate(_folder: Path, seeds: int, first: int = 0) -> Result:
    """Run so many seeds from `first` on, shared among the cores."""
    chunks = [(start, min(_CHUNK, first + seeds - start)) for start in range(first, first + seeds, _CHUNK)]
    began = time.perf_counter()
    # Fresh children: a fork of a process that has threads or an event loop may hang.
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        tallies = list(_told(pool.imap_unordered(_tally, chunks), seeds))
    spent = time.perf_counter() - began
    fired: Counter[str] = sum((one.fired for one in tallies), Counter())
    faults = [fault for one in tallies for fault in one.faults]
    rate = round(seeds / spent, 1)
    figures = {
        "seeds": seeds,
        "seeds a second": rate,
        "events": sum(one.events for one in tallies),
        "simulated hours": round(sum(one.seconds for one in tallies) / 3_600, 1),
        "faults happened": sum(fired.values()),
        "kinds of them": len(fired),
        "repeated identically": sum(one.repeated for one in tallies),
    }
    return Result("simulated seeds of bank, shop, transfers", figures, faults)


def _told(tallies: Iterable[Tally], seeds: int) -> Iterator[Tally]:
    """Pass them on; a line every thousand seeds, and each fault when it is found: the long form takes hours."""
    done = 0
    for one in tallies:
        yield one
        done = min(done + _CHUNK, seeds)
        for fault in one.faults:
            print(f"    {fault}", file=sys.stderr, flush=True)
        if done % _TELL == 0:
            print(f"    {done:,} of {seeds:,} seeds", file=sys.stderr, flush=True)


def _tally(chunk: tuple[int, int]) -> Tally:
    return tally(*chunk)


def tally(first: int, count: int) -> Tally:
    """Run a chunk of seeds in this process."""
    process, saga = transfers.simulation("process"), transfers.simulation("saga")
    others: dict[int, Simulation[Any]] = {0: shop.simulation(), 8: process, 33: saga}
    everyday = bank.simulation()
    events = repeated = 0
    seconds = 0.0
    fired: Counter[str] = Counter()
    faults: list[str] = []
    for seed in range(first, first + count):
        simulation = others.get(seed % _ROUND, everyday)
        ran = simulation.run(seed)
        if ran.broken is not None:
            faults.append(f"seed {seed}: {ran.case!r}: {ran.broken.invariant}: {ran.broken.said}")
        if seed % _AGAIN in {0, 8}:
            if simulation.replay(ran.case).trace.digest() != ran.trace.digest():
                faults.append(f"seed {seed} went another way when it was run again")
            repeated += 1
        events += ran.events
        seconds += ran.seconds
        fired.update(one.fault.value for one in ran.fired)
    return Tally(events, seconds, fired, repeated, faults)
