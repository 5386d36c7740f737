"""A look at the file from below: how it is set, who may read it, its disk, its WAL, and whether it holds together.

It changes nothing in the log. To time an fsync it writes a nameless file of its own in the same folder.
"""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from statistics import median

import apsw

from foldlog import limits
from foldlog.engines.sqlite.faults import is_damage
from foldlog.engines.sqlite.files import connect
from foldlog.engines.sqlite.log import snapshot
from foldlog.engines.sqlite.wal import KEPT
from foldlog.model.finding import FAIL, OK, WARN, Examined, Finding, counted
from foldlog.model.thread import in_thread

_SYNCS = 20  # fsyncs timed: enough for a median
_BLOCK = bytes(4_096)
_SETTINGS = {"journal_mode": "wal", "synchronous": "2", "trusted_schema": "0", "checksum_verification": "1"}
_RESTORE = "stop writing, keep a copy of the file, and restore a backup"
_BACK = "SELECT count(*) FROM (SELECT time < lag(time) OVER (ORDER BY position) AS back FROM events) WHERE back"
_GAPS = (
    "SELECT count(*) FROM (SELECT 1 FROM events GROUP BY stream HAVING count(*) <> max(version) OR min(version) <> 1)"
)
_NAMELESS = (
    "SELECT count(*) FROM events WHERE kind NOT IN (SELECT id FROM kinds) OR stream NOT IN (SELECT id FROM streams)"
)
_DEEP = (
    ("time order", _BACK, "events recorded before the one in front of them, so that reads by time pass over some"),
    ("versions", _GAPS, "streams with versions that do not count from 1 without a gap"),
    ("names", _NAMELESS, "events of a kind or stream that is not there"),
)


async def examine(path: str, *, deep: bool) -> Examined:
    """Look at the file at `path`, which is there and open elsewhere in this process; `deep` reads every page."""
    found = Examined([])
    await in_thread(lambda: _examine(path, found, deep=deep))
    return found


def _examine(path: str, found: Examined, *, deep: bool) -> None:
    findings = found.findings
    for name, look in (("files", _modes), ("disk space", _space), ("fsync", _sync), ("wal", _wal)):
        try:
            findings.append(look(Path(path)))
        except OSError as error:
            cure = "let this user read and write the file and its folder"
            findings.append(Finding(name, FAIL, f"cannot look: {error}", cure))
    checks: list[Callable[[apsw.Connection], Iterator[Finding]]] = [_settings, _holes]
    checks += [_integrity, _consistent] if deep else [_unread]
    for check in checks:
        # Each with a connection of its own: what one finds damaged, the next one need not.
        try:
            with closing(connect(path, readonly=check is not _settings)) as conn:
                findings += check(conn)
        except apsw.Error as error:
            findings.append(
                Finding("integrity", FAIL, f"{path}: {error}", _RESTORE if is_damage(error) else "try again")
            )
    try:
        with closing(connect(path, readonly=True)) as conn:
            found.kinds = list(conn.execute("SELECT category, type, schema FROM kinds ORDER BY id"))
            found.tables = [name for (name,) in conn.execute("SELECT name FROM tables ORDER BY name")]
    except apsw.Error as error:
        findings.append(Finding("integrity", FAIL, f"{path}: {error}", _RESTORE if is_damage(error) else "try again"))


def _modes(path: Path) -> Finding:
    files = [one for one in (path, Path(f"{path}-wal"), Path(f"{path}-shm")) if one.exists()]
    open_to_others = [one.name for one in files if stat.S_IMODE(one.stat().st_mode) & 0o077]
    if open_to_others:
        names = ", ".join(open_to_others)
        return Finding("files", WARN, f"others than the owner may open {names}", f"chmod 600 {names}, in {path.parent}")
    owners = {one.stat().st_uid for one in files}
    if owners != {os.geteuid()}:
        return Finding(
            "files",
            WARN,
            f"the files belong to user {', '.join(map(str, owners))}, this is {os.geteuid()}",
            "run as the files' owner",
        )
    return Finding("files", OK, f"{path} and what belongs to it are open to their owner only")


def _space(path: Path) -> Finding:
    size, free = path.stat().st_size, shutil.disk_usage(path.parent).free
    what = f"{free / 1e9:,.1f} GB are free, the log takes {size / 1e9:,.2f} GB"
    if free < max(limits.DISK_LOW, size):
        return Finding("disk space", WARN, what, "make room, or move the log: a full disk refuses every commit")
    return Finding("disk space", OK, what)


def _sync(path: Path) -> Finding:
    times: list[float] = []
    with tempfile.TemporaryFile(dir=path.parent) as file:
        for _ in range(_SYNCS):
            file.write(_BLOCK)
            file.flush()
            begun = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - begun)
    usual = median(times)
    what = f"an fsync takes {usual * 1e3:,.2f} ms, at most {max(times) * 1e3:,.2f} ms of {_SYNCS}"
    if usual > limits.FSYNC_SLOW:
        return Finding("fsync", WARN, what, "each commit waits for one: put the log on a faster disk")
    if usual < limits.FSYNC_FAST:
        return Finding("fsync", WARN, f"{what}: too fast for a disk", "put the log on a disk that outlives a power cut")
    return Finding("fsync", OK, what)


def _wal(path: Path) -> Finding:
    wal = Path(f"{path}-wal")
    size = wal.stat().st_size if wal.exists() else 0
    what = f"the WAL has {size / 1e6:,.1f} MB"
    if size > KEPT:
        return Finding("wal", WARN, what, "some process holds an old read open, or the writer died: find and end it")
    return Finding("wal", OK, what)


def _settings(conn: apsw.Connection) -> Iterator[Finding]:
    said = {name: str(conn.execute(f"PRAGMA {name}").get) for name in _SETTINGS}
    wrong = [f"{name} is {said[name]}, not {value}" for name, value in _SETTINGS.items() if said[name] != value]
    if wrong:
        yield Finding("settings", FAIL, "; ".join(wrong), "open it with Foldlog once, and with nothing else")
    else:
        yield Finding("settings", OK, "WAL, a commit returns after its fsync, checksums are verified")


def _holes(conn: apsw.Connection) -> Iterator[Finding]:
    with snapshot(conn):
        first, last = conn.execute("SELECT (SELECT min(position) FROM events), (SELECT max(position) FROM events)").get
        count = conn.execute("SELECT count(*) FROM events").get
    if not count:
        yield Finding("positions", OK, "the log is empty")
        return
    missing = last - first + 1 - count
    what = f"{counted(count, 'event')} at positions {first} to {last}"
    if missing:
        cure = "expected after `?start=` on a log with events; otherwise compare with a backup"
        yield Finding("positions", WARN, f"{what}; {counted(missing, 'empty position')} between them", cure)
    else:
        yield Finding("positions", OK, f"{what}, without a hole")


def _unread(_conn: apsw.Connection) -> Iterator[Finding]:
    yield Finding("integrity", OK, "what was read is sound; --deep reads every page and compares all indexes")


def _integrity(conn: apsw.Connection) -> Iterator[Finding]:
    wrong = [line for (line,) in conn.execute("PRAGMA integrity_check(10)") if line != "ok"]
    if wrong:
        yield Finding("integrity", FAIL, "; ".join(wrong), _RESTORE)
    else:
        pages = conn.execute("PRAGMA page_count").get
        yield Finding("integrity", OK, f"all {pages:,} pages are as they were written, and agree with each other")


def _consistent(conn: apsw.Connection) -> Iterator[Finding]:
    for check, count, meaning in _DEEP:
        number = conn.execute(count).get
        if number:
            yield Finding(check, FAIL, f"{meaning}: {number:,}", _RESTORE)
        else:
            yield Finding(check, OK, f"{meaning}: none")
