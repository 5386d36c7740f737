"""Four processes against one on the same CPU-bound handler: how many times the throughput, and no effect twice."""

import asyncio
import time
from collections import Counter
from pathlib import Path

from foldlog import limits
from foldlog.model.message import Draft, Meta, encode_meta
from foldlog.ports.store import Append, Batch
from tests.reliability.functions import out_of_order
from tests.reliability.processes import Place, Result
from tests.reliability.shared import Workers, make, until

STREAMS = 200


def scale(folder: Path, events: int, least: float = 1.7) -> Result:
    """`events` come at once when all processes have their share; fewer than `least` times the throughput is a fault."""
    rates, faults = {}, []
    for processes in (1, 4):
        mine = folder / str(processes)
        mine.mkdir()
        rates[processes], found = asyncio.run(_measure(Workers(Place(mine), "spin"), processes, events))
        faults += found
    ratio = rates[4] / rates[1]
    if ratio < least:
        faults.append(f"4 processes do {ratio:.2f} times what 1 does, not {least}")
    figures = {"events": events, **{f"{n} processes/s": round(rate) for n, rate in rates.items()}, "x": round(ratio, 2)}
    return Result("4 processes against 1", figures, faults)


async def _measure(workers: Workers, processes: int, events: int) -> tuple[float, list[str]]:
    try:
        for _ in range(processes):
            workers.start()
        async with make(workers.url, "spin", workers.world).open(functions=False) as app:
            share = 16 // processes
            await until(app, "handler.spin", lambda held: all(held[name] == share for name in workers.running))
            each = [
                Draft(
                    "counter.counted",
                    1,
                    f'{{"number":{number}}}'.encode(),
                    encode_meta(Meta(command="c", index=number)),
                )
                for number in range(events // STREAMS)
            ]
            began = time.monotonic()
            await app.system.store.commit(Batch([Append(f"counter-{number}", each) for number in range(STREAMS)]))
            async with asyncio.timeout(600):
                while workers.world.read_bytes().count(b"\n") < len(each) * STREAMS:
                    await app.system.store.wait(None, limits.WATCH_MAX)
            took = time.monotonic() - began
    finally:
        workers.end_all()
    lines = workers.lines()
    twice = [
        f"{one} took effect {times} times" for one, times in Counter(line[0] for line in lines).items() if times > 1
    ]
    return len(each) * STREAMS / took, [*twice, *out_of_order(lines), *workers.stale()]
