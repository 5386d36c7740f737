"""The tables of rows as PostgreSQL sees them: a registry, and one physical table for each logical one."""

from collections.abc import Sequence
from struct import pack
from typing import NamedTuple

import msgspec

from foldlog.engines.postgres.locks import Locks
from foldlog.engines.postgres.session import Connection, fetch
from foldlog.errors import Invalid
from foldlog.ports.store import IndexValue, Table

_SIGN = 1 << 63
_ROUNDED = 1 << 15  # how far the nearest float may lie from a whole number of 64 bits, with room


NOTHING, SOMETHING = b"\0", b"\1"  # None as an index value, and where all others begin


class Stored(NamedTuple):
    """A table that is there."""

    name: str
    width: int
    expiring: bool

    @property
    def columns(self) -> str:
        """What a Row is made of, in the order of `rows.row_of`, from the table AS r."""
        return f"r.tenant, r.key, r.value, r.version, r.position{', r.shown' if self.width else ''}"


class Tables:
    """The tables that this process has met. One that was dropped elsewhere is found out by its absence, see
    `forget`."""

    def __init__(self, schema: str, locks: Locks) -> None:
        self._schema, self._locks = schema, locks
        self._known: dict[Table, Stored] = {}

    def forget(self, table: Table) -> None:
        self._known.pop(table, None)

    async def find(self, conn: Connection, table: Table) -> Stored | None:
        """The table, or None. Errors: `Invalid` where it was made with other indexes."""
        stored = self._known.get(table)
        if stored is None:
            found = await fetch(
                conn, f"SELECT id, indexes, expiring FROM {self._schema}.tables WHERE name = $1", [table.name]
            )
            if not found:
                return None
            stored = self._known[table] = _checked(self._schema, table, *found[0])
        return stored

    async def create(self, conn: Connection, table: Table) -> Stored:
        """The table, made if it is not there. It is there at once, whatever becomes of the batch that asked for it."""
        stored = await self.find(conn, table)
        if stored is None:
            s = self._schema
            async with conn.transaction():
                await fetch(conn, "SELECT pg_advisory_xact_lock($1)", [self._locks.tables])
                stored = await self.find(conn, table)
                if stored is None:
                    indexes = msgspec.json.encode(table.indexes).decode()
                    (row,) = await fetch(
                        conn,
                        f"INSERT INTO {s}.tables (name, indexes, expiring) VALUES ($1, $2, $3) RETURNING id",
                        [table.name, indexes, table.expiring],
                    )
                    stored = Stored(f"{s}.rows_{row[0]}", len(table.indexes), table.expiring)
                    for statement in _made(stored):
                        await fetch(conn, statement, once=True)
            self._known[table] = stored
        return stored

    async def drop(self, conn: Connection, table: Table) -> None:
        """Remove the table; a missing one is fine."""
        s = self._schema
        async with conn.transaction():
            await fetch(conn, "SELECT pg_advisory_xact_lock($1)", [self._locks.tables])
            found = await fetch(conn, f"DELETE FROM {s}.tables WHERE name = $1 RETURNING id", [table.name])
            if found:
                await fetch(conn, f"DROP TABLE {s}.rows_{found[0][0]}", once=True)
        self._known.pop(table, None)


def sortable(value: IndexValue) -> bytes:
    """An index value as bytes that sort as the values do: None, numbers, texts by code point."""
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return b"\2" + value.encode()
    nearest = float(value) + 0.0  # and -0.0 is 0.0
    bits = int.from_bytes(pack(">d", nearest), "big")
    bits = bits ^ (2 * _SIGN - 1) if bits & _SIGN else bits | _SIGN
    rest = int(value) - int(nearest) if isinstance(value, int) else 0
    return b"\1" + pack(">QH", bits, rest + _ROUNDED)


def shown(values: Sequence[IndexValue]) -> str:
    """A row's index values as they were given."""
    return msgspec.json.encode(values).decode()


def _checked(schema: str, table: Table, number: int, indexes: str, expiring: bool) -> Stored:
    there = tuple(msgspec.json.decode(indexes))
    if there != table.indexes or expiring != table.expiring:
        raise Invalid(
            f"table {table.name} is stored with indexes ({', '.join(there)}), expiring={expiring}; it was asked for"
            f" with ({', '.join(table.indexes)}), expiring={table.expiring}. A table keeps what it was made with: give"
            " a changed projection another version=, any other table another name"
        )
    return Stored(f"{schema}.rows_{number}", len(there), expiring)


def _made(stored: Stored) -> list[str]:
    name, width = stored.name, range(stored.width)
    bare = name.partition(".")[2]
    columns = "".join([", shown text NOT NULL", *(f", i{i} bytea" for i in width)]) if stored.width else ""
    create = (
        f'CREATE TABLE {name} (tenant text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, value bytea NOT NULL,'
        f" version bigint NOT NULL, position bigint NOT NULL, expires bigint{columns}, PRIMARY KEY (tenant, key))"
        " WITH (fillfactor = 80)"
    )
    made = [create]
    made += [f"CREATE INDEX {bare}_i{i} ON {name} (tenant, i{i}, key)" for i in width]  # for `scan`
    if stored.expiring:  # for the purge of rows past their time
        made.append(f"CREATE INDEX {bare}_expires ON {name} (expires) WHERE expires IS NOT NULL")
    return made
