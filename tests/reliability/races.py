"""Eight processes race; tailing readers follow writing processes."""

import asyncio
import subprocess
import time
from collections import Counter

from foldlog import limits
from foldlog.model.query import Query
from tests.reliability.child import open_store
from tests.reliability.processes import Place, Result, expect, lines, start


def one_winner(place: Place, rounds: int, processes: int = 8) -> Result:
    """Every round all processes try the same version, then the same tag condition: exactly one wins each."""
    url = place.url("race")
    children = [start("race", url, f"p{number}", rounds) for number in range(processes)]
    for child in children:
        expect(child, "open")
    faults: list[str] = []
    for number in range(rounds):
        for child in children:
            _go(child)
        won: Counter[str] = Counter()
        for child in children:
            won.update(_heard(child).split())
        faults += [f"round {number}: {won[what]} winners by {what}" for what in ("version", "tag") if won[what] != 1]
    for child in children:
        lines(child)
    stored = asyncio.run(_stored(url))
    if stored != {"race": rounds, "tag": rounds}:
        faults.append(f"stored {stored}, expected {rounds} of each")
    return Result("races on a version and a tag", {"processes": processes, "rounds": rounds}, faults)


def tailing(place: Place, events: int, writers: int = 8, readers: int = 4) -> Result:
    """Readers that follow see the same order, nothing skipped, nothing twice."""
    url = place.url("tail")
    began = time.perf_counter()
    tails = [start("tail", url, events) for _ in range(readers)]
    for child in tails:
        expect(child, "open")
    bursts = [start("burst", url, f"w{number}", events // writers) for number in range(writers)]
    ends = [lines(child)[-1:] for child in tails]
    for child in bursts:
        lines(child)
    seen = {line for end in ends for line in end}
    faults = [] if len(seen) == 1 and all(ends) else [f"readers disagree: {ends}"]
    faults += [f"{line}: not {events} events in order" for line in seen if line.split()[:2] != [str(events), "0"]]
    faults += [f"a process ended with {child.returncode}" for child in (*tails, *bursts) if child.returncode]
    took = round(time.perf_counter() - began, 1)
    return Result("tailing readers", {"writers": writers, "readers": readers, "events": events, "s": took}, faults)


def _go(child: subprocess.Popen[str]) -> None:
    if child.stdin is None:
        raise AssertionError("children have a pipe")
    child.stdin.write("go\n")
    child.stdin.flush()


def _heard(child: subprocess.Popen[str]) -> str:
    if child.stdout is None:
        raise AssertionError("children have a pipe")
    return child.stdout.readline().strip()


async def _stored(url: str) -> dict[str, int]:
    store = open_store(url)
    await store.open()
    found: Counter[str] = Counter()
    after, more = 0, True
    while more:
        page = await store.read(Query(), after, limits.PAGE_MAX)
        found.update(event.category for event in page.events)
        after, more = page.events[-1].position if page.events else after, page.more
    await store.close()
    return dict(found)
