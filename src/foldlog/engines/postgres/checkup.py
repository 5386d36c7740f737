"""A look at the store from below: the server's settings, this role's rights, what holds the head back, and whether the
tables agree with each other. It changes nothing.
"""

from collections.abc import AsyncIterator, Callable

import psycopg

from foldlog import limits
from foldlog.engines.postgres.address import parse
from foldlog.engines.postgres.faults import said
from foldlog.engines.postgres.safe_head import SafeHead
from foldlog.engines.postgres.session import Connection, connect, fetch
from foldlog.model.finding import FAIL, OK, WARN, Examined, Finding, counted

Check = Callable[[Connection, str], AsyncIterator[Finding]]
_RESTORE = "stop writing, keep a copy of the database, and restore a backup"
_DURABLE = {
    "fsync": "a power cut can destroy the database",
    "full_page_writes": "a power cut can leave torn pages",
}
_TRIGGERS = {"events_stay": "events", "tags_stay": "tags"}
_GAPS = (
    "SELECT count(*) FROM (SELECT 1 FROM {s}.events GROUP BY stream"
    " HAVING count(*) <> max(version) OR min(version) <> 1) AS g"
)
_HEADS = (
    "SELECT count(*) FROM {s}.streams AS s LEFT JOIN (SELECT stream, max(version) AS version FROM {s}.events"
    " GROUP BY stream) AS e ON e.stream = s.id WHERE e.version IS DISTINCT FROM s.version"
)
_NAMELESS = (
    "SELECT count(*) FROM {s}.events WHERE kind NOT IN (SELECT id FROM {s}.kinds) OR stream NOT IN (SELECT id FROM"
    " {s}.streams)"
)
_TAGLESS = "SELECT count(*) FROM {s}.tags WHERE position NOT IN (SELECT position FROM {s}.events)"
_DEEP = (
    ("versions", _GAPS, "streams with versions that do not count from 1 without a gap"),
    ("heads", _HEADS, "streams whose head is not their last event"),
    ("names", _NAMELESS, "events of a kind or stream that is not there"),
    ("tags", _TAGLESS, "tags of events that are not there"),
)


async def examine(url: str, *, deep: bool) -> Examined:
    """Look at the store; `deep` reads all of it."""
    address = parse(url)
    found = Examined([])
    try:
        conn = await connect(address, starting=True)
        try:
            checks: list[Check] = [_server, _rights, _triggers, _positions, _held, _sizes]
            for check in [*checks, _consistent] if deep else [*checks, _unread]:
                found.findings += [finding async for finding in check(conn, address.schema)]
            kinds = await fetch(conn, f"SELECT category, type, schema FROM {address.schema}.kinds ORDER BY id")
            found.kinds = [(category, name, schema) for category, name, schema in kinds]
            tables = await fetch(conn, f"SELECT name FROM {address.schema}.tables ORDER BY name")
            found.tables = [name for (name,) in tables]
        finally:
            await conn.close()
    except psycopg.Error as error:
        found.findings.append(
            Finding("integrity", FAIL, str(said(error, address.shown)), "see what the server's log says")
        )
    return found


async def _server(conn: Connection, _: str) -> AsyncIterator[Finding]:
    ((version, checksums),) = await fetch(
        conn, "SELECT current_setting('server_version'), current_setting('data_checksums')"
    )
    yield Finding("server", OK, f"PostgreSQL {version}")
    if checksums == "on":
        yield Finding("checksums", OK, "pages carry checksums, verified when they are read")
    else:
        cure = "pg_checksums --enable, while the server is stopped"
        yield Finding("checksums", WARN, "pages carry no checksums: damage of the disk is found late or never", cure)
    wrong = []
    for name, meaning in _DURABLE.items():
        ((value,),) = await fetch(conn, f"SELECT current_setting('{name}')", once=True)
        if value != "on":
            wrong.append(f"{name} is {value}: {meaning}")
    ((synchronous,),) = await fetch(conn, "SELECT current_setting('synchronous_commit')", once=True)
    if synchronous not in {"on", "remote_write", "remote_apply", "local"}:
        wrong.append(f"synchronous_commit is {synchronous}: what was acknowledged may be lost")
    if wrong:
        yield Finding("settings", FAIL, "; ".join(wrong), "switch it on in postgresql.conf, or for the role")
    else:
        yield Finding("settings", OK, f"fsync and full_page_writes are on, synchronous_commit is {synchronous}")


async def _rights(conn: Connection, s: str) -> AsyncIterator[Finding]:
    rights = await fetch(
        conn,
        "SELECT current_user, r FROM unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE']) AS r"
        f" WHERE has_table_privilege('{s}.events', r)",
        once=True,
    )
    if rights:
        which = ", ".join(right for _, right in rights)
        what = f"role {rights[0][0]} may {which} events; only triggers keep it from that"
        yield Finding("role", WARN, what, "let workers run as a role of their own: docs/how-to/postgresql.md")
    else:
        yield Finding("role", OK, "this role may add events, and not change or delete them")


async def _triggers(conn: Connection, s: str) -> AsyncIterator[Finding]:
    found = await fetch(
        conn,
        "SELECT tgname::text FROM pg_trigger WHERE tgenabled = 'O' AND tgrelid = ANY(ARRAY"
        f"['{s}.events'::regclass, '{s}.tags'::regclass])",
        once=True,
    )
    missing = sorted(set(_TRIGGERS).difference(name for (name,) in found))
    if missing:
        cure = "; ".join(f"ALTER TABLE {s}.{_TRIGGERS[name]} ENABLE TRIGGER {name}" for name in missing)
        yield Finding("triggers", FAIL, f"not in force: {', '.join(missing)}", cure)
    else:
        yield Finding("triggers", OK, "events and tags are kept from change by triggers, too")


async def _positions(conn: Connection, s: str) -> AsyncIterator[Finding]:
    ((count, first, last),) = await fetch(conn, f"SELECT count(*), min(position), max(position) FROM {s}.events")
    if not count:
        yield Finding("positions", OK, "the log is empty")
        return
    holes = last - first + 1 - count
    what = f"{counted(count, 'event')} at positions {first} to {last}"
    yield Finding(
        "positions", OK, f"{what}, {counted(holes, 'empty position')} between them, left by what was rolled back"
    )


async def _held(conn: Connection, s: str) -> AsyncIterator[Finding]:
    ((kept, last),) = await fetch(
        conn, f"SELECT head, (SELECT coalesce(max(position), 0) FROM {s}.events) FROM {s}.log"
    )
    head = await SafeHead(s, kept).look(conn)
    open_ = await fetch(
        conn,
        "SELECT coalesce('process ' || l.pid, 'prepared transaction ' || l.virtualtransaction),"
        " extract(epoch FROM now() - a.xact_start)::float8"
        " FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a USING (pid)"
        f" WHERE l.relation = '{s}.events'::regclass AND l.mode = 'RowExclusiveLock' AND l.granted"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        once=True,
    )
    long = [(who, age) for who, age in open_ if age is None or age > limits.STATEMENT_TIME]
    if long:
        who = "; ".join(f"{name}, open for {age:,.0f} s" if age is not None else name for name, age in long)
        cure = "commit it or roll it back; pg_terminate_backend(process) ends it"
        what = f"{who}: what is appended behind it is not read before it ends (safe head {head}, last event {last})"
        yield Finding("safe head", WARN, what, cure)
    else:
        yield Finding("safe head", OK, f"{head}; the last event is at {last}")


async def _sizes(conn: Connection, s: str) -> AsyncIterator[Finding]:
    found = await fetch(
        conn,
        "SELECT c.relname::text, pg_total_relation_size(c.oid) FROM pg_class AS c JOIN pg_namespace AS n"
        " ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r' ORDER BY 2 DESC",
        [s],
    )
    size = sum(each for _, each in found)
    largest = ", ".join(f"{name} {each / 1e6:,.1f} MB" for name, each in found[:3])
    yield Finding("size", OK, f"{size / 1e6:,.1f} MB in {counted(len(found), 'table')}: {largest}")


async def _unread(_conn: Connection, _: str) -> AsyncIterator[Finding]:
    yield Finding("integrity", OK, "what was read is sound; --deep compares the tables with each other")


async def _consistent(conn: Connection, s: str) -> AsyncIterator[Finding]:
    for check, count, meaning in _DEEP:
        async with conn.transaction():  # a proxy may give the session to others afterwards
            await fetch(conn, "SET LOCAL statement_timeout = 0", once=True)
            await fetch(conn, "SET LOCAL enable_seqscan = on", once=True)
            ((number,),) = await fetch(conn, count.replace("{s}", s), once=True)
        if number:
            yield Finding(check, FAIL, f"{meaning}: {number:,}", _RESTORE)
        else:
            yield Finding(check, OK, f"{meaning}: none")
