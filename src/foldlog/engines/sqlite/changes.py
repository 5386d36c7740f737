"""Writing rows inside the writer's transaction."""

from collections import defaultdict
from typing import Any

import apsw

from foldlog.engines.batch import row_conflict, row_holds
from foldlog.engines.sqlite.tables import Stored, create, drop, find
from foldlog.ports.store import Delete, Put, RowChange, RowKey, Table

_PURGE = 2  # expired rows removed for each row put, so that a table shrinks again, a little at a time


class Changes:
    """Checks and collects the row changes of one transaction after another.

    Changes wait, so that many of one table become one statement. `_versions` knows what rows this transaction has
    checked and changed will be, so that the next check of one need not wait for the first to be written.
    """

    def __init__(self, conn: apsw.Connection) -> None:
        self._conn = conn
        self.forget()

    def forget(self) -> None:
        self._tables: dict[Table, Stored] = {}
        self.begin(0)

    def begin(self, now: int) -> None:
        self._now = now
        self._versions: dict[tuple[str, RowKey], int | None] = {}  # None: changed unseen, look after a flush
        self._pending: defaultdict[Table, list[tuple[bool, tuple[Any, ...]]]] = defaultdict(list)
        self._put: defaultdict[Table, int] = defaultdict(int)

    def check(self, change: RowChange) -> None:
        """The row has the version that the change wants, with all that this transaction has taken, or `Conflict`."""
        if change.if_version is None:
            self._stored(change.table)
            return
        place = change.table.name, change.key
        actual = self._versions.get(place)
        if actual is None:
            if place in self._versions:
                self._write(change.table)
            actual = self._versions[place] = self._version(change.table, change.key)
        if not row_holds(change.if_version, actual):
            raise row_conflict(change, actual)

    def change(self, change: RowChange) -> None:
        """Take the change; `flush` writes it."""
        table, key = change.table, change.key
        if isinstance(change, Put):
            values = (*key, change.value, change.position, change.expires, *change.index)
            self._pending[table].append((True, values))
            self._put[table] += 1
            before = self._versions.get((table.name, key))
            self._versions[table.name, key] = None if before is None else before + 1
        elif isinstance(change, Delete):
            self._pending[table].append((False, tuple(key)))
            self._versions[table.name, key] = 0

    def flush(self) -> None:
        for table in tuple(self._pending):
            self._write(table)
        for table, count in self._put.items():
            if table.expiring:
                self._purge(self._tables[table], _PURGE * count)

    def drop(self, table: Table) -> None:
        self.flush()
        drop(self._conn, table)
        self.begin(self._now)
        self._tables.clear()

    def _stored(self, table: Table) -> Stored | None:
        stored = self._tables.get(table)
        if stored is None:
            stored = find(self._conn, table)
            if stored is not None:
                self._tables[table] = stored
        return stored

    def _version(self, table: Table, key: RowKey) -> int:
        stored = self._stored(table)
        if stored is None:
            return 0
        alive = " AND (expires IS NULL OR expires > ?)" if stored.expiring else ""
        params = (*key, self._now) if stored.expiring else key
        return (
            self._conn.execute(f"SELECT version FROM {stored.name} WHERE tenant = ? AND key = ?{alive}", params).get
            or 0
        )

    def _write(self, table: Table) -> None:
        """Write what waits for one table, in order; runs of one sort as one statement."""
        changes = self._pending.pop(table, ())
        stored = self._stored(table)
        run: list[tuple[Any, ...]] = []
        for number, (is_put, values) in enumerate(changes):
            run.append(values)
            if number + 1 < len(changes) and changes[number + 1][0] == is_put:
                continue
            if is_put:
                stored = stored or self._create(table)
                self._conn.executemany(self._upsert(stored), run)
            elif stored is not None:
                self._conn.executemany(f"DELETE FROM {stored.name} WHERE tenant = ? AND key = ?", run)
            run = []

    def _create(self, table: Table) -> Stored:
        stored = self._tables[table] = create(self._conn, table)
        return stored

    def _upsert(self, stored: Stored) -> str:
        columns = ["value", "position", "expires", *(f"i{i}" for i in range(stored.width))]
        # A row past its time counts as absent: its versions begin again.
        version = f"iif(expires <= {self._now}, 1, version + 1)" if stored.expiring else "version + 1"
        replaced = ", ".join(f"{name} = excluded.{name}" for name in columns)
        return (
            f"INSERT INTO {stored.name} (tenant, key, {', '.join(columns)}, version)"
            f" VALUES (?, ?, {'?, ' * len(columns)}1)"
            f" ON CONFLICT (tenant, key) DO UPDATE SET version = {version}, {replaced}"
        )

    def _purge(self, stored: Stored, most: int) -> None:
        self._conn.execute(
            f"DELETE FROM {stored.name} WHERE (tenant, key) IN (SELECT tenant, key FROM {stored.name}"
            " WHERE expires IS NOT NULL AND expires <= ? ORDER BY expires LIMIT ?)",
            (self._now, most),
        ).get
