"""`kill -9` on a writer under load, with an outside ledger of what was acknowledged."""

import asyncio
import random
import time
from collections import Counter

import msgspec

from foldlog import limits
from foldlog.model.query import Query
from foldlog.ports.store import RowKey
from tests.reliability.child import LEDGER, open_store
from tests.reliability.processes import Place, Result, expect, lines, start


def kill_writers(place: Place, rounds: int) -> Result:
    """Every round: a writer on the same store, killed after a random time; then the log is read and compared."""
    url = place.url("kills")
    chance = random.Random(7)
    acknowledged: set[str] = set()
    found: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    after = 0
    for number in range(rounds):
        child = start("writer", url, f"r{number}")
        expect(child, "open")
        time.sleep(chance.uniform(0.0, 0.25))
        child.kill()
        acknowledged.update(lines(child))
        after = asyncio.run(_tally(url, after, found, sizes, gaps=place.server is not None))
    faults = [f"lost {name}" for name in acknowledged if name not in found]
    faults += [
        f"half or doubled {name}: {count} of {sizes[name]}" for name, count in found.items() if count != sizes[name]
    ]
    rows = asyncio.run(_rows(url, list(found)))
    faults += [f"events without their row: {name}" for name in found if name not in rows]
    figures = {"kills": rounds, "acknowledged batches": len(acknowledged), "events": sum(found.values())}
    return Result("kill -9 on a writer", figures, faults)


async def _tally(url: str, after: int, found: Counter[str], sizes: dict[str, int], *, gaps: bool) -> int:
    store = open_store(url)
    await store.open()
    more = True
    while more:
        page = await store.read(Query(), after, limits.PAGE_MAX)
        for event in page.events:
            body = msgspec.json.decode(event.body)
            found[body["batch"]] += 1
            sizes[body["batch"]] = body["of"]
            if event.position <= after or not (gaps or event.position == after + 1):
                raise AssertionError(f"position {event.position} after {after}")
            after = event.position
        more = page.more
    await store.close()
    return after


async def _rows(url: str, names: list[str]) -> set[str]:
    store = open_store(url)
    await store.open()
    kept: set[str] = set()
    for at in range(0, len(names), 1_000):
        keys = [RowKey("", name) for name in names[at : at + 1_000]]
        kept |= {key.key for key in await store.get(LEDGER, keys)}
    await store.close()
    return kept
