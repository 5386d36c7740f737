"""Readers that follow a log on which commits overtake each other: writers that are slow, rolled back, killed or
prepared, and one transaction that stays open for long. Nothing is skipped, repeated or reordered, and what lies before
the open transaction is not delayed.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import ExitStack, closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, LiteralString, NamedTuple
from zlib import crc32

import msgspec
import psycopg
from psycopg import sql

from foldlog.engines.postgres.address import parse
from foldlog.ports.store import Append, Batch
from tests.reliability.child import draft, open_store
from tests.reliability.hostile import BY_HAND, END, SEEN, SLOW, WRITTEN, appending, slowed
from tests.reliability.processes import Place, Result, expect, lines, start
from tests.servers import Postgres

READERS = [(1_000, 0, ""), (100, 0, ""), (1_000, 3_000, ""), (1_000, 0, f"{WRITTEN},{END}")]
"""Events of a page, of a store until it is opened anew, types."""
PATIENCE = 80  # seconds for what must come soon: the machine may be busy …
PATIENCE_EACH = 0.01  # … and for each event: readers and writers share it

Child = subprocess.Popen[str]
Row = tuple[int, int, str, str, bytes]  # position, version, stream, type, body


class Told(NamedTuple):
    """What one run came to."""

    figures: Counter[str]
    faults: list[str]


def overtake(place: Place, events: int, runs: int, held: float = 30.0, writers: int = 3) -> Result:
    """Every run: `events` through the store, more by hand; one transaction held open for `held` seconds.
    Each run is told when it is done: the long form takes an hour."""
    figures: Counter[str] = Counter()
    faults: list[str] = []
    for number in range(runs):
        told = _Run(place, number, held, PATIENCE + PATIENCE_EACH * events).run(events, writers)
        figures += told.figures
        print(f"    run {number + 1} of {runs}: {dict(told.figures)}, {told.faults}", file=sys.stderr, flush=True)
        faults += [f"run {number}: {fault}" for fault in told.faults]
    return Result("readers behind commits that overtake", {"runs": runs, "readers": len(READERS), **figures}, faults)


class _Run:
    """One log, from its making to the comparison."""

    def __init__(self, place: Place, number: int, held: float, patience: float) -> None:
        if place.server is None:
            raise AssertionError("one writer at a time overtakes nobody: this is for a server")
        self.server: Postgres = place.server
        self.folder, self.number, self.held, self.patience = place.folder, number, held, patience
        self.url, self.stranger = place.url(f"overtaking{number}"), place.url(f"stranger{number}")
        self.schema = parse(self.url).schema
        self.chance = random.Random(number)
        self.figures: Counter[str] = Counter()
        self.faults: list[str] = []
        self.started = 0

    def run(self, events: int, writers: int) -> Told:
        asyncio.run(_append(self.stranger, ["hand"]))
        asyncio.run(_append(self.url, ["busy", "slow", "hand"]))
        with ExitStack() as self.stack:
            self._copy(twin := f"{self.schema}_twin")
            self.look = self.stack.enter_context(self.connected())
            self.stack.callback(self.look.execute, f"DROP DATABASE {twin} WITH (FORCE)".encode())
            self.look.execute(SLOW.encode())
            self._open_bystanders(twin)
            files = [self.folder / f"{self.number}.{name}" for name in range(len(READERS))]
            readers = [self._start("reader", self.url, path, *how) for path, how in zip(files, READERS, strict=True)]
            others = {self._other(role): role for role in ("slow", "hand")}
            for child in (*readers, *others):
                expect(child, "open")
            each = events // writers
            quick = [self._start("writers", self.url, f"q{name}", each, "busy") for name in range(writers)]
            self._disturb(quick, others, _Holding(self, files, events // 4))
            self._end_writers([*quick, *others])
            asyncio.run(_append(self.url, ["end"], END))
            for child in readers:
                self._ended(child)
            stored = self._stored()
            self.faults += [f"a process ended with {one.returncode}" for one in (*readers, *quick) if one.returncode]
            self.faults += _wrong(stored, each * writers)
            for path, (_, _, types) in zip(files, READERS, strict=True):
                expected = [row for row in stored if not types or row[3] in types.split(",")]
                self.faults += [f"reader {path.suffix}: {fault}" for fault in _compare(expected, path)]
        self.figures["events"] = len(stored)
        self.figures["positions that stay empty"] = stored[-1][0] - len(stored)
        return Told(self.figures, self.faults)

    # ---------------------------------------------------------------- those who are in the way

    def connected(self, schema: str = "", database: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(
            self.server.conninfo.replace("dbname=postgres", f"dbname={database}"),
            autocommit=True,
            options=f"-c search_path={schema or self.schema}",
        )

    def _copy(self, twin: str) -> None:
        """A database whose tables have the same numbers."""
        with self.connected(database="template1") as conn:
            conn.execute(f"CREATE DATABASE {twin} TEMPLATE postgres".encode())

    def _open_bystanders(self, twin: str) -> None:
        """Transactions that stay open and delay nobody: the oldest of the cluster, one that appended to another log,
        and one that appended to the events of the other database."""
        oldest = self.stack.enter_context(closing(self.connected()))
        oldest.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; CREATE TEMP TABLE oldest (n int)")
        strange = parse(self.stranger).schema
        elsewhere = {strange: self.connected(strange), self.schema: self.connected(database=twin)}
        for schema, conn in elsewhere.items():
            self.stack.enter_context(closing(conn))
            conn.execute("BEGIN")
            conn.execute(*appending(schema, "hand-2", 1))

    def _disturb(self, quick: list[Child], others: dict[Child, str], holding: "_Holding") -> None:
        """Kill processes and connections at random until the quick writers are done; in between, hold a transaction."""
        end = time.monotonic() + self.held + self.patience
        needed = ("processes killed", "connections ended by force")
        while (
            any(child.poll() is None for child in quick)
            or not holding.over
            or not all(self.figures[what] for what in needed)
        ):
            if self.chance.random() < 0.05:
                child = self.chance.choice(list(others))
                role = others.pop(child)
                child.kill()
                lines(child)
                others[self._other(role)] = role
                self.figures["processes killed"] += 1
            if self.chance.random() < 0.2:
                self._terminate(holding.pid)
            self._clear_up("0.5 seconds")
            holding.step()
            self.look.execute("SELECT pg_sleep(0.1)")
            if time.monotonic() > end:
                raise AssertionError(f"{sum(one.poll() is None for one in quick)} writers are not done; {self.figures}")

    def _start(self, role: str, *arguments: object) -> Child:
        child = start(role, *arguments, program="hostile")
        self.stack.callback(child.kill)
        return child

    def _other(self, role: str) -> Child:
        self.started += 1
        name = f"{role}{self.started}"
        if role == "hand":
            return self._start("transactions", self.url, name)
        return self._start("writers", slowed(self.url, 0.5, 0.1), name, 10**9, "slow")

    def _ended(self, child: Child) -> None:
        try:
            child.wait(self.patience)
        except subprocess.TimeoutExpired:
            self.faults.append(f"process {child.pid} did not come to its end")
            child.kill()
        lines(child)

    def _terminate(self, spared: int) -> None:
        """End the connection of one who has taken positions and not committed."""
        if found := [pid for pid in self._owners() if pid != spared]:
            self.look.execute("SELECT pg_terminate_backend(%s)", [self.chance.choice(found)])
            self.figures["connections ended by force"] += 1

    def _owners(self) -> list[int]:
        """The processes of the server that may have taken positions and not committed."""
        found = self.look.execute(
            "SELECT DISTINCT pid FROM pg_locks WHERE relation = 'events'::regclass AND mode = 'RowExclusiveLock'"
            " AND granted AND pid IS NOT NULL"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return [row[0] for row in found]

    def _clear_up(self, age: str) -> None:
        """End what killed processes have left prepared."""
        for (name,) in self.look.execute(
            "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE %s AND prepared < now() - %s::interval",
            [f"{self.schema}.%", age],
        ).fetchall():
            how = self.chance.choice(["COMMIT", "ROLLBACK"])
            with suppress(psycopg.errors.UndefinedObject, psycopg.errors.ObjectNotInPrerequisiteState):
                self.look.execute(sql.SQL(f"{how} PREPARED {{}}").format(name))
                self.figures["left prepared"] += 1  # else its own process came first

    def _end_writers(self, children: list[Child]) -> None:
        for child in children:
            child.kill()  # the quick ones have ended by themselves
            lines(child)
        while self._owners():
            self.look.execute("SELECT pg_sleep(0.01)")
        self._clear_up("0 seconds")

    # ---------------------------------------------------------------- what came of it

    def _stored(self) -> list[Row]:
        return self.look.execute(
            "SELECT e.position, e.version, s.name, k.type, e.body FROM events AS e"
            " JOIN streams AS s ON s.id = e.stream JOIN kinds AS k ON k.id = e.kind ORDER BY position",
            binary=True,
        ).fetchall()


class _Holding:
    """The transaction that stays open, every third time prepared, and what readers must have seen meanwhile."""

    def __init__(self, run: _Run, files: list[Path], first: int) -> None:
        self._run, self._files, self._first = run, files, first
        self.pid, self.over = 0, False
        self._until = self._patience = 0.0
        self._before = self._position = 0
        self._conn: psycopg.Connection[Any] | None = None

    def step(self) -> None:
        """Open it behind the first events; end it when it was open for long and the readers have come up to it."""
        if self.over:
            return
        if self._conn is None:
            # What comes before this is in front of its positions, whatever these will be.
            self._before = self._one("SELECT last_value FROM positions")
            if self._before >= self._first:
                self._open(self._run.connected())
        elif time.monotonic() >= self._until:
            read = [{row[0] for row in _seen(path)} for path in self._files]
            late = self._late(read)
            if not late or time.monotonic() > self._patience:
                self._close(self._conn, read, late)

    def _open(self, conn: psycopg.Connection[Any]) -> None:
        self._conn, self.pid = conn, conn.info.backend_pid
        conn.execute("BEGIN")
        conn.execute(*appending(self._run.schema, "held-1", 3))
        ((self._position,),) = conn.execute(
            "SELECT min(position) FROM events WHERE xmin = pg_current_xact_id()::xid"
        ).fetchall()
        if self._run.number % 3 == 2:
            conn.execute(f"PREPARE TRANSACTION '{self._run.schema}'".encode())
        self._until = time.monotonic() + self._run.held
        self._patience = self._until + self._run.patience

    def _close(self, conn: psycopg.Connection[Any], read: list[set[int]], late: list[tuple[int, int]]) -> None:
        run = self._run
        run.faults += [f"reader {at} lacks {count} events in front of the open transaction" for at, count in late]
        run.faults += [
            f"reader {at} went past it" for at, one in enumerate(read) if max(one, default=0) >= self._position
        ]
        run.figures["events behind the open one"] += self._one(
            "SELECT count(*) FROM events WHERE position > %s", self._position
        )
        run.figures["read in front of it by each"] += min(map(len, read[:3]))
        conn.execute(["COMMIT", "ROLLBACK", f"COMMIT PREPARED '{run.schema}'"][run.number % 3].encode())
        conn.close()
        self.over = True

    def _late(self, read: list[set[int]]) -> list[tuple[int, int]]:
        """How many events each reader lacks of those before the open one."""
        found: list[tuple[int, int]] = []
        for at, (_, _, types) in enumerate(READERS):
            kinds = types.split(",") if types else [WRITTEN, BY_HAND]
            rows = self._run.look.execute(
                "SELECT position FROM events AS e JOIN kinds AS k ON k.id = e.kind WHERE position <= %s"
                " AND type = ANY(%s)",
                [self._before, kinds],
            )
            if lacking := len({row[0] for row in rows} - read[at]):
                found.append((at, lacking))
        return found

    def _one(self, statement: LiteralString, *values: int) -> int:
        ((found,),) = self._run.look.execute(statement, values).fetchall()
        return int(found)


async def _append(url: str, categories: list[str], kind: str = "") -> None:
    """One event in each category, which makes the store and the kinds that are written by hand."""
    store = open_store(url)
    await store.open()
    for name in categories:
        told = kind or (BY_HAND if name == "hand" else WRITTEN)
        await store.commit(Batch([Append(f"{name}-1", [msgspec.structs.replace(draft("first", 0, 1), type=told)])]))
    await store.close()


def _seen(path: Path) -> list[tuple[int, int, int]]:
    """What a reader has left so far; a row that is just being written does not count."""
    data = path.read_bytes()
    return list(SEEN.iter_unpack(data[: len(data) // SEEN.size * SEEN.size]))


def _compare(stored: list[Row], path: Path) -> list[str]:
    """What was read against what is there."""
    expected = [(position, version, crc32(stream.encode())) for position, version, stream, _, _ in stored]
    seen = _seen(path)
    if seen == expected:
        return []
    counted = Counter(seen)
    skipped = [row[0] for row in expected if row not in counted]
    strange = counted.keys() - set(expected)
    return [
        (
            f"{len(seen)} events of {len(expected)}: skipped {skipped[:10]} ({len(skipped)}),"
            f" repeated {sum(n > 1 for n in counted.values())}, not there {len(strange)},"
            f" reordered {sum(b[0] <= a[0] for a, b in pairwise(seen))}"
        )
    ]


def _wrong(stored: list[Row], events: int) -> list[str]:
    """What is wrong with the log itself: versions, and what the quick writers wrote."""
    faults: list[str] = []
    last: Counter[str] = Counter()
    pieces: defaultdict[str, list[int]] = defaultdict(list)
    sizes: dict[str, int] = {}
    for position, version, stream, kind, body in stored:
        if version != last[stream] + 1:
            faults.append(f"position {position}: {stream} goes from {last[stream]} to {version}")
        last[stream] = version
        if kind == WRITTEN:
            told = msgspec.json.decode(body)
            pieces[told["batch"]].append(told["index"])
            sizes[told["batch"]] = told["of"]
    del pieces["first"]
    faults += [f"batch {name}: {has}" for name, has in pieces.items() if has != list(range(sizes[name]))]
    written = sum(len(has) for name, has in pieces.items() if name.startswith("q"))
    return [*faults, *([f"{written} events of {events} through the store"] if written < events else [])]
