"""The tables of rows as SQLite sees them: a registry, and one physical table for each logical one."""

from typing import NamedTuple

import apsw
import msgspec

from foldlog.errors import Invalid
from foldlog.ports.store import Table


class Stored(NamedTuple):
    """A table that is there."""

    id: int
    width: int
    expiring: bool

    @property
    def name(self) -> str:
        return f"rows_{self.id}"

    @property
    def columns(self) -> str:
        """What a Row is made of, in the order of `rows.row_of`, from the table AS r."""
        names = "tenant", "key", "value", "version", "position", *(f"i{i}" for i in range(self.width))
        return ", ".join(f"r.{name}" for name in names)


def find(conn: apsw.Connection, table: Table) -> Stored | None:
    """The table, or None. Errors: `Invalid` where it was made with other indexes."""
    found = conn.execute("SELECT id, indexes, expiring FROM tables WHERE name = ?", (table.name,)).get
    if found is None:
        return None
    number, indexes, expiring = found
    there = tuple(msgspec.json.decode(indexes))
    if there != table.indexes or bool(expiring) != table.expiring:
        raise Invalid(
            f"table {table.name} is stored with indexes ({', '.join(there)}), expiring={bool(expiring)}; it was asked"
            f" for with ({', '.join(table.indexes)}), expiring={table.expiring}. A table keeps what it was made with:"
            " give a changed projection another version=, any other table another name"
        )
    return Stored(number, len(there), bool(expiring))


def create(conn: apsw.Connection, table: Table) -> Stored:
    """Make the table, inside the caller's transaction."""
    indexes = msgspec.json.encode(table.indexes).decode()
    number = conn.execute(
        "INSERT INTO tables (name, indexes, expiring) VALUES (?, ?, ?) RETURNING id",
        (table.name, indexes, table.expiring),
    ).get
    stored = Stored(number, len(table.indexes), table.expiring)
    columns = "".join(f"i{i} ANY, " for i in range(stored.width))
    conn.execute(
        f"CREATE TABLE {stored.name} (tenant TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,"
        f" version INTEGER NOT NULL, position INTEGER NOT NULL, expires INTEGER, {columns}PRIMARY KEY (tenant, key))"
        " STRICT, WITHOUT ROWID"
    ).get
    for i in range(stored.width):  # for `scan` in the order of an index
        conn.execute(f"CREATE INDEX {stored.name}_i{i} ON {stored.name} (tenant, i{i}, key)").get
    if table.expiring:  # for the purge of rows past their time
        conn.execute(f"CREATE INDEX {stored.name}_expires ON {stored.name} (expires) WHERE expires IS NOT NULL").get
    return stored


def drop(conn: apsw.Connection, table: Table) -> None:
    """Remove the table, inside the caller's transaction; a missing one is fine."""
    number = conn.execute("DELETE FROM tables WHERE name = ? RETURNING id", (table.name,)).get
    if number is not None:
        conn.execute(f"DROP TABLE rows_{number}").get
