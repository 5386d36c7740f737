"""The n-th write or sync fails, for every n: nothing acknowledged is lost, nothing is doubled."""

import asyncio
import shutil
from collections import Counter
from pathlib import Path

import msgspec

from foldlog.errors import Unavailable
from foldlog.model.query import Query
from tests.reliability.child import open_store
from tests.reliability.processes import Result, lines, start

STRACE = shutil.which("strace")
CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate")


def failing_calls(folder: Path, step: int = 1, count: int = 12) -> Result:
    """For each system call and errno, fail its n-th call, n = 1, 1 + step, … until the program makes no n-th call."""
    faults: list[str] = []
    sites: Counter[str] = Counter()
    for call in CALLS:
        for errno in ("EIO", "ENOSPC"):
            number = 1
            while _fail(folder, call, errno, number, count, faults):
                sites[f"{call} {errno}"] += 1
                number += step
    return Result("n-th write and sync fails", {**sites, "call sites": sum(sites.values())}, faults)


def _fail(folder: Path, call: str, errno: str, number: int, count: int, faults: list[str]) -> bool:
    name = f"{call}.{errno}.{number}"
    log = folder / f"{name}.strace"
    path = folder / f"{name}.db"
    inject = f"inject={call}:error={errno}:when={number}"
    before = [
        STRACE or "strace",
        "-f",
        "-qq",
        "-o",
        str(log),
        "-P",
        str(path),
        "-P",
        f"{path}-wal",
        "-P",
        f"{path}-shm",
    ]
    child = start("steady", f"sqlite:{path}", name, count, before=[*before, "-e", f"trace={call}", "-e", inject])
    said = lines(child)
    if child.wait() != 0:
        faults.append(f"{name}: the program ended with {child.returncode}")
    hit = "(INJECTED)" in log.read_text()
    if hit:
        faults.extend(f"{name}: {fault}" for fault in asyncio.run(_compare(path, said)))
    for left in folder.glob(f"{name}*"):
        left.unlink()
    return hit


async def _compare(path: Path, said: list[str]) -> list[str]:
    acknowledged = {line.split()[1] for line in said if line.startswith("acknowledged")}
    store = open_store(f"sqlite:{path}")
    try:
        await store.open()
        page = await store.read(Query(), 0, 1_000)
        await store.close()
    except Unavailable as error:
        return [f"cannot be opened afterwards: {error}"]
    found = Counter(msgspec.json.decode(event.body)["batch"] for event in page.events)
    return [
        *(f"lost {name}" for name in acknowledged if name not in found),
        *(f"half or doubled: {name} {times} times" for name, times in found.items() if times != 2),
    ]
