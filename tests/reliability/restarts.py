"""From a killed process with a long log to serving again."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from foldlog.ports.store import Append, Batch
from tests.reliability.child import draft, open_store
from tests.reliability.counter import Count, counter, make
from tests.reliability.processes import ROOT, Result, expect, lines, start


def restart(folder: Path, events: int) -> Result:
    """A log of so many events; its writer is killed; then a new process opens it and answers a first command."""
    path = folder / "restart.db"
    asyncio.run(_fill(path, events))
    child = start("writer", f"sqlite:{path}", "r")
    expect(child, "open")
    time.sleep(1)
    child.kill()
    lines(child)
    began = time.perf_counter()
    command = [sys.executable, "-m", "tests.reliability.restarts", f"sqlite:{path}"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    faults = [] if said.returncode == 0 else [said.stderr[-500:]]
    figures = {"events": events, "file MB": round(path.stat().st_size / 1e6), "s to first answer": round(took, 2)}
    return Result("restart to serving", figures, faults)


async def _fill(path: Path, events: int) -> None:
    store = open_store(f"sqlite:{path}")
    await store.open()
    for at in range(0, events, 5_000):
        drafts = [draft(f"fill.{at}", index, 50) for index in range(50)]
        await store.commit(
            Batch([Append(f"fill-{(at // 5_000 * 100 + number) % 20_000}", drafts) for number in range(100)])
        )
    await store.close()


async def _answer(url: str) -> None:
    async with make(url, Path(os.devnull)) as app:
        await app.send(counter, "restart", Count(1))
        os._exit(0)  # the time to the first answer is what counts


if __name__ == "__main__":
    asyncio.run(_answer(sys.argv[1]))
