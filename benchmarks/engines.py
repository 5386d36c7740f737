"""What is measured on each engine: its workloads, its sizes, where its databases are, how each side is durable."""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apsw

from benchmarks.measure import ON_SERVER, QUICK, QUICK_ON_SERVER, Bench, Sizes, Workload
from benchmarks.ours import Ours
from benchmarks.peer import Peer, environment
from benchmarks.postgres.packages import WANTED, fetched
from benchmarks.postgres.server import Server
from benchmarks.postgres.workloads import ALL as ON_POSTGRES
from benchmarks.raw import Raw
from benchmarks.workloads import ALL as ON_SQLITE
from foldlog.engines.sqlite.files import connect
from tests.servers import Postgres

CONNECTIONS = 400  # the peers hold one a thread
RESULTS = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Place:
    """A folder on a disk, a server where there is one, and what a reader must know of them."""

    folder: Path
    server: Server | None
    conditions: dict[str, Any]

    def bench(self, folder: Path, sizes: Sizes) -> Bench:
        return Bench(folder, sizes, self.server)


@dataclass(frozen=True, slots=True)
class Engine:
    workloads: tuple[Workload, ...]
    sizes: Sizes
    quick: Sizes
    results: Path
    open: Callable[[Path], AbstractContextManager[Place]]


@contextmanager
def _sqlite(folder: Path) -> Iterator[Place]:
    yield Place(
        folder,
        None,
        {
            "eventsourcing": version("eventsourcing"),
            "sqlite_of_foldlog_and_raw": apsw.sqlite_lib_version(),
            "sqlite_of_peer": sqlite3.sqlite_version,
            "durability": _durability_of_files(folder),
        },
    )


def _durability_of_files(folder: Path) -> dict[str, str]:
    """As each side's own connection answers."""
    with Ours(f"sqlite:{folder}/ours.db"):
        ours = connect(str(folder / "ours.db"))
        asked = ours.execute("PRAGMA journal_mode").get, ours.execute("PRAGMA synchronous").get
        ours.close()
    with Peer(environment(folder / "peer.db")) as peer:
        peers = peer.pragma("journal_mode"), peer.pragma("synchronous")
    with Raw(folder / "raw.db") as raw:
        raws = raw.run("PRAGMA journal_mode"), raw.run("PRAGMA synchronous")
    found = {"ours": asked, "peer": peers, "raw": raws}
    assert all(one == ("wal", 2) for one in found.values()), found
    return {side: f"journal_mode={mode}, synchronous={level} (FULL)" for side, (mode, level) in found.items()}


@contextmanager
def _postgres(folder: Path) -> Iterator[Place]:
    before, tempfile.tempdir = tempfile.tempdir, str(folder.parent)  # where the server makes its own folder
    try:
        with Postgres(max_connections=str(CONNECTIONS)) as postgres:
            server = Server(postgres)
            settings = server.settings()
            assert settings["fsync"] == settings["synchronous_commit"] == "on", settings
            yield Place(
                folder,
                server,
                {
                    "eventsourcing": version("eventsourcing"),
                    "psycopg": version("psycopg"),
                    "npm": WANTED if fetched() else "missing: message-db and Emmett are left out",
                    "postgresql": settings.pop("server_version"),
                    "durability": {"all sides": ", ".join(f"{name}={value}" for name, value in settings.items())},
                },
            )
    finally:
        tempfile.tempdir = before


ENGINES = {
    "sqlite": Engine(ON_SQLITE, Sizes(), QUICK, RESULTS / "results.json", _sqlite),
    "postgres": Engine(ON_POSTGRES, ON_SERVER, QUICK_ON_SERVER, RESULTS / "results-postgres.json", _postgres),
}
