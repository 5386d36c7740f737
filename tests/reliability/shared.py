"""Several processes that share one store's functions: what they leave outside, and what they wrote in each commit."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import psycopg

from foldlog import App, Context, Recorded, handler, limits
from foldlog.flow.lease import CHECKPOINTS, checkpoints
from foldlog.ports.store import Batch, Put
from foldlog.runtime.logs import log_json
from tests.reliability.counter import WORLD, Counted, counter, echo, effects, sums
from tests.reliability.processes import ROOT, Place
from tests.servers import Postgres

LEASE = 0.6
SPINS = 4_000


@handler("spin", concurrency=4)
async def spin(event: Recorded[Counted], ctx: Context) -> None:
    """A few milliseconds of work, then a line outside."""
    digest = event.id.encode()
    for _ in range(SPINS):
        digest = hashlib.sha256(digest).digest()
    with WORLD[0].open("ab") as file:
        file.write(f"{event.id} {event.stream} {event.version}\n".encode())


PARTS = {"effects": [counter, echo, sums, effects], "spin": [counter, spin]}
PARTS["patient"] = PARTS["effects"]
# Nobody loses a patient lease only because the machine is busy, or because a handler computes and holds up renewals.
LEASES = {"effects": LEASE, "patient": 10.0, "spin": 10.0}


def make(url: str, what: str, world: Path) -> App:
    """The app that all the processes run."""
    WORLD[0] = world
    return App(url, PARTS[what], lease=LEASES[what])


def _told(owner: str, batch: Batch) -> bytes | None:
    marks: list[tuple[str, int, int]] = []
    others = 0
    for change in batch.rows:
        if isinstance(change, Put) and change.table == CHECKPOINTS:
            marks.append((change.key.key, change.if_version or 0, change.position))
        else:
            others += 1
    return json.dumps([owner, others, marks]).encode() + b"\n" if marks else None


async def main(url: str, what: str, world: str, ledger: str) -> None:
    """Runs the functions until SIGTERM; tells every commit of a checkpoint that was stored."""
    log_json(sys.stderr)
    app = make(url, what, Path(world))
    written = os.open(ledger, os.O_WRONLY | os.O_APPEND)

    def ready() -> None:
        store: Any = app.system.store
        commit = store.commit

        async def told(batch: Batch) -> Any:
            answer = await commit(batch)
            if line := _told(app.system.owner, batch):
                os.write(written, line)
            return answer

        store.commit = told
        os.write(1, f"{app.system.owner}\n".encode())

    await app.serve(ready)


class Workers:
    """Processes on one store, by the names they have in leases."""

    def __init__(self, place: Place, what: str) -> None:
        folder = place.folder
        self.place, self.what, self.url = place, what, place.url("shared")
        self.world, self.ledger = folder / "effects.txt", folder / "ledger.txt"
        self.errors = folder / "errors.txt"
        self.world.touch()
        self.ledger.touch()
        self.running: dict[str, subprocess.Popen[str]] = {}

    def start(self) -> str:
        """One more; returns its name."""
        arguments = [self.url, self.what, str(self.world), str(self.ledger)]
        with self.errors.open("ab") as errors:
            child = subprocess.Popen(
                [sys.executable, "-m", "tests.reliability.shared", *arguments],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        if child.stdout is None:
            raise AssertionError("children have a pipe")
        name = child.stdout.readline().strip()
        self.running[name] = child
        return name

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        """End one and wait for it."""
        child = self.running.pop(name)
        child.send_signal(number)
        child.wait(timeout=60)
        if child.stdout is not None:
            child.stdout.close()

    def end_all(self) -> None:
        """End all of them, those that are stopped too."""
        for name in list(self.running):
            self.running[name].send_signal(signal.SIGCONT)
            self.end(name)

    async def hang(self, name: str) -> int:
        """SIGSTOP one, not inside a commit: there it has locks, and others cannot write before it goes on. Returns how
        often it was let go on for that."""
        again = 0
        while True:
            self.running[name].send_signal(signal.SIGSTOP)
            # All of its threads stand still by then; before, one could yet take the lock.
            await asyncio.to_thread(os.waitid, os.P_PID, self.running[name].pid, os.WSTOPPED)
            if await asyncio.to_thread(self._writable):
                return again
            again += 1
            self.running[name].send_signal(signal.SIGCONT)
            await asyncio.sleep(0.01)

    def _writable(self) -> bool:
        if self.place.server is None:
            return _writable(self.place.folder / "shared.db")
        return _unlocked(self.place.server)

    def said(self) -> str:
        """The last of what the processes logged, but for attempts that failed on purpose."""
        told = [line for line in self.errors.read_text().splitlines() if "attempt failed" not in line]
        return "\n".join(told[-20:])

    def lines(self) -> list[list[str]]:
        """The effects outside, in order; a line that a kill cut is left out."""
        found = [line.split() for line in self.world.read_text().splitlines()]
        return [line for line in found if len(line) == 3]

    def stale(self) -> list[str]:
        """What no owner may do: store rows of a partition that it had not written last, or move a checkpoint back."""
        written: dict[tuple[str, int], tuple[str, int, int]] = {}
        faults = []
        for line in self.ledger.read_text().splitlines():
            owner, others, marks = json.loads(line)
            for key, version, position in marks:
                if (key, version) in written:
                    faults.append(f"{key}: version {version} was followed twice")
                written[key, version] = owner, others, position
        for (key, version), (owner, others, position) in written.items():
            before = written.get((key, version - 1))
            if before is not None and others and before[0] != owner:
                faults.append(f"{key}: {owner} stored rows at version {version}, which {before[0]} had written")
            if before is not None and position < before[2]:
                faults.append(f"{key}: from {before[2]} back to {position}")
        return faults


def _writable(path: Path) -> bool:
    """Whether anybody can write: others' commits end within milliseconds.

    By the engine's own SQLite: a second copy of it in this process, as Python's is, would drop the locks of the first
    when it closes the file (https://sqlite.org/howtocorrupt.html, 2.2.1).
    """
    with closing(apsw.Connection(str(path))) as conn:
        conn.set_busy_timeout(1_000)
        try:
            conn.execute("BEGIN IMMEDIATE")
        except apsw.BusyError:
            return False
        conn.execute("ROLLBACK")
        return True


def _unlocked(server: Postgres) -> bool:
    """Whether no transaction stands still: processes that run send their next statement within milliseconds."""
    waiting = "SELECT pid, xact_start FROM pg_stat_activity WHERE xact_start IS NOT NULL AND wait_event = 'ClientRead'"
    with psycopg.connect(server.conninfo, autocommit=True) as conn:
        still = set(conn.execute(waiting).fetchall())
        end = time.monotonic() + 1
        while still and time.monotonic() < end:
            time.sleep(0.02)
            still &= set(conn.execute(waiting).fetchall())
    return not still


async def holders(app: App, function: str) -> Counter[str]:
    """How many partitions of a function each process holds; "" for nobody."""
    return Counter(one.owner for one in (await checkpoints(app.system.store, function)).values())


async def until(app: App, function: str, holds: Callable[[Counter[str]], bool], timeout: float = 60) -> float:
    """Seconds until those who hold the function are as they should be."""
    began = time.monotonic()
    while not holds(found := await holders(app, function)):
        if time.monotonic() - began > timeout:
            raise AssertionError(f"after {timeout} seconds {function} is held by {dict(found)}")
        await app.system.store.wait(None, limits.WATCH_MAX)
    return time.monotonic() - began


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
