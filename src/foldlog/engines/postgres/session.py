"""Connections, and values on their way into them.

Arrays are encoded here, in PostgreSQL's binary form: their types never depend on the values, so that a statement keeps
its plan, and thousands of values cost one call.
"""

import select
from collections.abc import Sequence
from contextlib import suppress
from struct import Struct
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncCursor, AsyncRawCursor
from psycopg.adapt import AdaptersMap, Dumper
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format

from foldlog import limits
from foldlog.engines.postgres.address import Address
from foldlog.engines.postgres.faults import said, said_of_url


class Connection(AsyncConnection[tuple[Any, ...]]):
    """It keeps a cursor from statement to statement: making one is a third of what a short statement costs here."""

    idle: AsyncCursor[tuple[Any, ...]] | None = None


# Every statement is written for an index. A plan must not depend on how large a table was when it was first made.
_SETTINGS = {
    "application_name": "foldlog",
    "default_transaction_isolation": "read\\ committed",
    "enable_seqscan": "off",
    "idle_in_transaction_session_timeout": f"{limits.STATEMENT_TIME * 1_000:.0f}",
    "jit": "off",
    "lock_timeout": f"{limits.BUSY_TIMEOUT * 1_000:.0f}",
    "plan_cache_mode": "force_generic_plan",
    "search_path": "pg_catalog",
    "statement_timeout": f"{limits.STATEMENT_TIME * 1_000:.0f}",
    "synchronous_commit": "on",
    "TimeZone": "UTC",
}
# A server that is gone without a word (a host that fails, a network that is cut) is noticed. The URL's own come first.
_LINE = {
    "connect_timeout": limits.CONNECT_TIME,
    "keepalives_idle": limits.LINE_TIME // 4,
    "keepalives_interval": limits.LINE_TIME // 4,
    "keepalives_count": 3,
    "tcp_user_timeout": limits.LINE_TIME * 1_000,
}
_INT8, _TEXT, _BYTEA = 20, 25, 17
_NULL = b"\xff\xff\xff\xff"
_HEAD = Struct(">iiiii")
_EMPTY = Struct(">iii")
_LENGTH = Struct(">i").pack
_NUMBER = Struct(">iq").pack


class Array:
    """An array in PostgreSQL's binary form."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class _Int8s(Array):
    __slots__ = ()


class _Texts(Array):
    __slots__ = ()


class _Blobs(Array):
    __slots__ = ()


def int8s(numbers: Sequence[int | None]) -> Array:
    """A bigint[]."""
    data = b"".join([_NULL if number is None else _NUMBER(8, number) for number in numbers])
    return _Int8s(_head(_INT8, len(numbers)) + data)


def texts(values: Sequence[str | None]) -> Array:
    """A text[]."""
    return _Texts(_head(_TEXT, len(values)) + _joined([None if v is None else v.encode() for v in values]))


def blobs(values: Sequence[bytes | None]) -> Array:
    """A bytea[]."""
    return _Blobs(_head(_BYTEA, len(values)) + _joined(values))


def _head(oid: int, count: int) -> bytes:
    return _HEAD.pack(1, 1, oid, count, 1) if count else _EMPTY.pack(0, 0, oid)


def _joined(values: Sequence[bytes | None]) -> bytes:
    return b"".join([part for v in values for part in ((_NULL,) if v is None else (_LENGTH(len(v)), v))])


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> bytes:
        return obj.data


class _Int8sDumper(_ArrayDumper):
    oid = 1016


class _TextsDumper(_ArrayDumper):
    oid = 1009


class _BlobsDumper(_ArrayDumper):
    oid = 1001


class _IntDumper(Dumper):
    """Every whole number as bigint, so that a statement's types do not depend on the values."""

    format = Format.BINARY
    oid = _INT8

    def dump(self, obj: int) -> bytes:
        return obj.to_bytes(8, "big", signed=True)


def _adapters() -> AdaptersMap:
    adapters = AdaptersMap(psycopg.adapters)
    for kind, dumper in ((_Int8s, _Int8sDumper), (_Texts, _TextsDumper), (_Blobs, _BlobsDumper), (int, _IntDumper)):
        adapters.register_dumper(kind, dumper)
    return adapters


class _Context:
    """What psycopg asks for a connection's adapters."""

    connection = None

    def __init__(self) -> None:
        self.adapters = _adapters()


_CONTEXT = _Context()


async def connect(address: Address, *, starting: bool = False) -> Connection:
    """A new connection, each statement its own transaction. `starting`: a URL that cannot be right is `Misconfigured`.
    Errors: those of faults.py."""
    told = conninfo_to_dict(address.conninfo)
    options: dict[str, Any] = {name: value for name, value in _LINE.items() if name not in told}
    if not address.proxied:
        ours = [f"-c {name}={value}" for name, value in _SETTINGS.items()]
        options["options"] = " ".join([*ours, str(told.get("options") or "")])
    try:
        conn = await Connection.connect(
            address.conninfo,
            autocommit=True,
            prepare_threshold=None if address.proxied else 0,
            cursor_factory=AsyncRawCursor,
            context=_CONTEXT,
            **options,
        )
    except (psycopg.Error, OSError) as error:
        raise (said_of_url if starting else said)(error, address.shown) from error
    conn.prepared_max = limits.STATEMENTS
    return conn


async def fetch(conn: Connection, statement: str, params: Sequence[Any] = (), *, once: bool = False) -> list[Any]:
    """All rows that a statement returns. `once`: its text is not seen again, so that keeping its plan is of no use."""
    cursor, conn.idle = conn.idle or conn.cursor(), None
    await cursor.execute(statement.encode(), params, prepare=False if once else None, binary=True)
    result = cursor.pgresult
    rows = await cursor.fetchall() if result is not None and result.nfields else []
    if result is not None:
        result.clear()  # else the rows stay in memory with the cursor
    conn.idle = cursor
    return rows


def is_gone(conn: Connection) -> bool:
    """Whether an idle connection has ended, as far as can be told without asking the server."""
    if not conn.closed:
        poll = select.poll()
        poll.register(conn.fileno(), select.POLLIN)
        with suppress(psycopg.OperationalError):
            while poll.poll(0):  # nothing is under way: a farewell, and then its end
                conn.pgconn.consume_input()
    return conn.closed
