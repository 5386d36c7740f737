"""Reads a whole log in a process of its own and prints rate and memory: `python -m benchmarks.child SIDE PLACE`."""

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

PAGE = 10_000  # rows at once, where a driver would hold all of them


def memory(what: str) -> float:
    """MB of this process: "VmRSS" now, "VmHWM" at most so far; nan where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text("utf-8").splitlines() if status.exists() else []
    found = [int(line.split()[1]) / 1_024 for line in lines if line.startswith(f"{what}:")]
    return found[0] if found else float("nan")


def measured(read: Callable[[], int]) -> None:
    """Run a read and print what it did."""
    before = memory("VmRSS")
    begin = time.perf_counter()
    count = read()
    taken = time.perf_counter() - begin
    print(json.dumps({"rate": count / taken, "memory": memory("VmHWM") - before, "events": count}))


def read_ours(place: str) -> None:
    ours: Any = import_module("benchmarks.ours")

    async def work(app: Any) -> int:
        count = pieces = 0
        async for event in app.read():
            pieces += event.data.quantity
            count += 1
        assert pieces >= count
        return count

    def read() -> int:
        with ours.Ours(place) as opened:
            count: int = opened.run(work(opened.app))
        return count

    measured(read)


def read_peer(place: str) -> None:
    peer: Any = import_module("benchmarks.peer")

    def read() -> int:
        with peer.Peer(json.loads(place)) as opened:
            log, mapper = opened.shop.notification_log, opened.shop.mapper
            count, start = 0, 1
            while notifications := log.select(start=start, limit=log.section_size):
                for notification in notifications:
                    mapper.to_domain_event(notification)
                count += len(notifications)
                start = notifications[-1].id + 1
        return count

    measured(read)


def read_raw(place: str) -> None:
    apsw: Any = import_module("apsw")

    def read() -> int:
        connection = apsw.Connection(place)
        count = 0
        for _ in connection.execute("SELECT * FROM events ORDER BY position"):
            count += 1
        connection.close()
        return count

    measured(read)


def read_message_db(place: str) -> None:
    message_db: Any = import_module("benchmarks.postgres.message_db")
    measured(lambda: message_db.read_all(place))


def read_bare(place: str) -> None:
    bare: Any = import_module("benchmarks.postgres.bare")

    def read() -> int:
        with bare.Bare(place) as opened:
            return sum(len(page) for page in opened.pages(PAGE))

    measured(read)


SIDES: dict[str, Callable[[str], None]] = {
    "ours": read_ours,
    "peer": read_peer,
    "raw": read_raw,
    "message-db": read_message_db,
    "bare": read_bare,
}

if __name__ == "__main__":
    SIDES[sys.argv[1]](sys.argv[2])
