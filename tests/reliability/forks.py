"""A fork is killed again and again: what has the new name is whole, and the next one succeeds."""

import asyncio
import hashlib
import random
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from foldlog.engines.sqlite import forking
from foldlog.engines.sqlite.files import open_file
from foldlog.ports.store import Append, Batch
from tests.reliability.child import draft, open_store
from tests.reliability.processes import ROOT, Result

_ROWS = (
    "SELECT position, s.tenant, name, version, category, type, schema, encoding, time, meta, body FROM events"
    " JOIN streams AS s ON s.id = stream JOIN kinds AS k ON k.id = kind WHERE position <= ? ORDER BY position"
)


def kill_forks(folder: Path, rounds: int, events: int) -> Result:
    """So many rounds: a fork of a log of so many events is killed at a random moment of its work."""
    source, new = folder / "source.db", folder / "new.db"
    asyncio.run(_fill(source, events))
    upto = events - events // 10
    wanted = _digest(source, upto)
    dice = random.Random(7)
    began = time.perf_counter()
    faults = [] if _forked(source, new, upto) == 0 else ["an undisturbed fork failed"]
    whole_run = time.perf_counter() - began
    killed = half = whole = 0
    for number in range(rounds):
        new.unlink(missing_ok=True)
        killed += _forked(source, new, upto, kill_after=dice.uniform(0.3, 1.0) * whole_run) != 0
        half += Path(f"{new}.forking").exists()
        if new.exists():
            whole += 1
            faults += _wrong(new, upto, wanted, f"round {number}")
    new.unlink(missing_ok=True)
    if _forked(source, new, upto) != 0:
        faults.append("the last fork failed")
    faults += _wrong(new, upto, wanted, "the last fork")
    if left := [one.name for one in folder.iterdir() if "forking" in one.name]:
        faults.append(f"left behind: {left}")
    figures = {"rounds": rounds, "killed": killed, "left a half": half, "whole": whole, "events": events}
    return Result("forks that are killed", figures, faults)


def _forked(source: Path, new: Path, upto: int, kill_after: float | None = None) -> int:
    command = [sys.executable, "-m", "tests.reliability.forks", str(source), str(new), str(upto)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL) as child:
        try:
            return child.wait(kill_after)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()


def _wrong(path: Path, upto: int, wanted: str, when: str) -> list[str]:
    conn, _ = open_file(str(path))
    with closing(conn):
        sound = conn.execute("PRAGMA integrity_check").get
    faults = [] if sound == "ok" else [f"{when}: {sound}"]
    return faults if _digest(path, upto + 1) == wanted else [*faults, f"{when}: it is not the cut log"]


def _digest(path: Path, upto: int) -> str:
    digest = hashlib.blake2b()
    conn, _ = open_file(str(path))
    with closing(conn):
        for row in conn.execute(_ROWS, (upto,)):
            digest.update(repr(row).encode())
    return digest.hexdigest()


async def _fill(path: Path, events: int) -> None:
    store = open_store(f"sqlite:{path}")
    await store.open()
    for at in range(0, events, 1_000):
        drafts = [draft(f"fork.{at}", index, 50) for index in range(10)]
        await store.commit(Batch([Append(f"fork-{(at + number) % 5_000}", drafts) for number in range(100)]))
    await store.close()


def _child(source: str, new: str, upto: str) -> None:
    forking._PIECE = 500  # noqa: SLF001  # more moments to be killed in
    asyncio.run(forking.fork(source, new, int(upto), [], lambda _: None))


if __name__ == "__main__":
    _child(*sys.argv[1:])
