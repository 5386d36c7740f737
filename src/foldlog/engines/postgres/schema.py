"""The schema: made, recognised, brought up to date, while other processes may be doing the same or be at work."""

import secrets
from pathlib import Path
from typing import NamedTuple

import psycopg

from foldlog.engines.postgres.address import Address, parse
from foldlog.engines.postgres.faults import said
from foldlog.engines.postgres.locks import Locks
from foldlog.engines.postgres.session import Connection, connect, fetch
from foldlog.errors import Misconfigured, Unavailable
from foldlog.ports.store import Identity

SCHEMA = 1  # the version that this code knows
OLDEST = 150_000  # of the server
_STEPS = ("schema.sql",)  # step n leads to version n + 1; each only adds, so that older workers go on
_TEXTS = tuple(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in _STEPS)


class Opened(NamedTuple):
    identity: Identity
    head: int


async def absent(url: str) -> str:
    """Where the store would be, if there is none at this URL, else ""; nothing is made. Errors: as for `prepare`."""
    address = parse(url)
    conn = await connect(address, starting=True)
    try:
        return "" if await _version(conn, address.schema) else address.shown
    except psycopg.Error as error:
        raise said(error, address.shown) from error
    finally:
        await conn.close()


async def prepare(conn: Connection, address: Address, locks: Locks) -> Opened:
    """Make or migrate what is not there or old, and learn which log it is. Errors: `Misconfigured`, `Unavailable`."""
    await _check_server(conn, address)
    s = address.schema
    try:
        version = await _version(conn, s)
        if version < SCHEMA:
            async with conn.transaction():
                await fetch(conn, "SELECT pg_advisory_xact_lock($1)", [locks.schema])
                await _migrate(conn, s, await _version(conn, s))
        elif version > SCHEMA:
            raise Misconfigured(f"{address.shown} has schema {version}, this code knows {SCHEMA}: upgrade foldlog")
        if address.start:
            await _start(conn, s, address.start)
        ((log, epoch, head),) = await fetch(conn, f"SELECT id, epoch, head FROM {s}.log")
    except psycopg.errors.InsufficientPrivilege as error:
        raise Misconfigured(
            f"{address.shown}: {error.diag.message_primary}: let the schema's owner open it once, then grant this role"
            " its rights"
        ) from error
    except psycopg.Error as error:
        raise said(error, address.shown) from error
    return Opened(Identity(log, epoch), head)


async def _check_server(conn: Connection, address: Address) -> None:
    if conn.info.server_version < OLDEST:
        raise Misconfigured(
            f"{address.shown} is PostgreSQL {conn.info.server_version // 10_000}, at least 15 is needed"
        )
    ((encoding, standby),) = await fetch(
        conn, "SELECT current_setting('server_encoding'), pg_catalog.pg_is_in_recovery()", once=True
    )
    if encoding != "UTF8":
        raise Misconfigured(f"{address.shown} has the encoding {encoding}: make a database with ENCODING 'UTF8'")
    if standby:
        raise Unavailable(f"{address.shown} is a standby: Foldlog needs the primary")
    keyword = "SELECT 1 FROM pg_catalog.pg_get_keywords() WHERE word = $1 AND catcode IN ('R', 'T')"
    if await fetch(conn, keyword, [address.schema], once=True):
        raise Misconfigured(f"schema={address.schema!r} is a word of SQL: take another name")


async def _version(conn: Connection, s: str) -> int:
    ((there,),) = await fetch(
        conn,
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid ="
        " c.relnamespace WHERE n.nspname = $1 AND c.relname = 'log')",
        [s],
    )
    return (await fetch(conn, f"SELECT schema FROM {s}.log", once=True))[0][0] if there else 0


async def _migrate(conn: Connection, s: str, version: int) -> None:
    if not await fetch(conn, "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1", [s]):
        await fetch(conn, f"CREATE SCHEMA {s}", once=True)  # its owner may have made it: that needs fewer rights
    for number in range(version, SCHEMA):
        for statement in _TEXTS[number].replace("{s}", s).split("\n\n"):
            await fetch(conn, statement, once=True)
        if number == 0:
            await fetch(
                conn,
                f"INSERT INTO {s}.log (id, epoch, schema, head) VALUES ($1, 1, $2, 0)",
                [secrets.token_hex(16), SCHEMA],
                once=True,
            )
        await fetch(conn, f"UPDATE {s}.log SET schema = {number + 1}", once=True)


async def _start(conn: Connection, s: str, start: int) -> None:
    """Use no position up to `start`."""
    if (await fetch(conn, f"SELECT last_value < $1 FROM {s}.positions", [start], once=True))[0][0]:
        async with conn.transaction():
            # Nobody takes a position meanwhile: the sequence must not be set back.
            await fetch(conn, f"LOCK TABLE {s}.events IN SHARE ROW EXCLUSIVE MODE", once=True)
            await fetch(conn, f"SELECT setval('{s}.positions', $1) FROM {s}.positions WHERE last_value < $1", [start])
