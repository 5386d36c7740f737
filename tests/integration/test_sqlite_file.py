"""The database file: who may read it, what it says about itself, what is refused."""

import asyncio
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import apsw
import pytest

from foldlog import limits
from foldlog.engines.sqlite import SqliteStore, files
from foldlog.errors import Misconfigured
from foldlog.model.message import Draft
from foldlog.model.query import Query
from foldlog.ports.store import Append, Batch
from tests.opened import opened

NOBODY = 65_534


def one(stream="a-1", **said):
    return Batch([Append(stream, [Draft("x", 1, b"{}")], **said)])


def fill(path):
    async def body():
        async with opened(SqliteStore(path)) as store:
            await store.commit(one())

    asyncio.run(body())


def raw(path):
    conn, _ = files.open_file(str(path))
    return conn


def open_once(path):
    async def body():
        async with opened(SqliteStore(path)):
            return

    asyncio.run(body())


def test_only_the_owner_may_read_it_whatever_the_umask(tmp_path):
    path = tmp_path / "log.db"

    async def body():
        async with opened(SqliteStore(path)) as store:
            await store.commit(one())
            await store.read(Query())
            return {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}

    before = os.umask(0)
    try:
        modes = asyncio.run(body())
    finally:
        os.umask(before)
    assert modes == {"log.db": 0o600, "log.db-wal": 0o600, "log.db-shm": 0o600}


def test_the_last_to_close_leaves_one_file(tmp_path):
    fill(tmp_path / "log.db")
    assert [p.name for p in tmp_path.iterdir()] == ["log.db"]


def test_events_are_never_changed_or_deleted(tmp_path):
    fill(tmp_path / "log.db")
    conn = raw(tmp_path / "log.db")
    for sql in ("UPDATE events SET body = x''", "DELETE FROM events"):
        with pytest.raises(apsw.ConstraintError, match="never"):
            conn.execute(sql).fetchall()
    conn.close()


def test_it_is_durable_and_checked(tmp_path):
    conn = raw(tmp_path / "log.db")
    said = {name: conn.execute(f"PRAGMA {name}").get for name in ("journal_mode", "synchronous", "trusted_schema")}
    assert said == {"journal_mode": "wal", "synchronous": 2, "trusted_schema": 0}
    assert conn.execute("PRAGMA busy_timeout").get == limits.BUSY_TIMEOUT * 1000
    assert conn.execute("PRAGMA checksum_verification").get == "1"
    assert conn.reserve_bytes() == 8
    loose = conn.execute("SELECT name FROM pragma_table_list WHERE NOT strict AND name NOT LIKE 'sqlite_%'").fetchall()
    assert loose == []
    conn.close()
    reader = files.connect(str(tmp_path / "log.db"), readonly=True)
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("DELETE FROM by_tag").fetchall()
    reader.close()


def test_the_log_keeps_its_identity(tmp_path):
    async def body():
        async with opened(SqliteStore(tmp_path / "log.db")) as first:
            said = first.identity
        async with (
            opened(SqliteStore(tmp_path / "log.db")) as again,
            opened(SqliteStore(tmp_path / "other.db")) as other,
        ):
            assert again.identity == said
            assert other.identity.log != said.log

    asyncio.run(body())


def test_an_empty_file_is_taken(tmp_path):
    (tmp_path / "log.db").touch()
    fill(tmp_path / "log.db")


def test_a_newer_schema_is_refused(tmp_path):
    conn = raw(tmp_path / "log.db")
    conn.execute(f"PRAGMA user_version = {files.SCHEMA + 1}").fetchall()
    conn.close()
    with pytest.raises(Misconfigured, match="upgrade foldlog"):
        open_once(tmp_path / "log.db")


@pytest.mark.parametrize("content", [b"hello", b"x" * 5_000])
def test_what_is_no_database_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "letter.txt"
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match="not a Foldlog database"):
        open_once(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("reserve", [0, 8])
def test_a_foreign_database_is_refused_and_left_alone(tmp_path, reserve):
    path = tmp_path / "theirs.db"
    raw(tmp_path / "ours.db").close()  # registers the VFS
    conn = apsw.Connection(str(path), vfs="cksmvfs")
    conn.reserve_bytes(reserve=reserve)
    conn.execute("CREATE TABLE theirs (x)").fetchall()
    conn.close()
    content = path.read_bytes()
    with pytest.raises(Misconfigured, match="not a Foldlog database"):
        open_once(path)
    assert path.read_bytes() == content


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(Misconfigured, match=r"nowhere.*must exist"):
        open_once(tmp_path / "nowhere" / "log.db")


def test_a_directory_is_no_database(tmp_path):
    with pytest.raises(Misconfigured):
        open_once(tmp_path)


def test_a_missing_extension_names_the_cure(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_VFS", "not-registered")

    monkeypatch.setattr(files, "_EXTENSION", tmp_path / "cksumvfs")
    with pytest.raises(Misconfigured, match="pip install"):
        open_once(tmp_path / "log.db")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user to meet a file it may not write")
@pytest.mark.parametrize(("directory", "file"), [(0o777, 0o644), (0o755, 0o666)])
def test_what_may_not_be_written_is_refused_when_opening(directory, file):
    with tempfile.TemporaryDirectory() as name:  # tmp_path's parents are closed to others
        Path(name).chmod(0o755)
        place = Path(name, "place")
        place.mkdir()
        fill(place / "log.db")
        place.chmod(directory)
        (place / "log.db").chmod(file)
        said = opened_by_nobody(place / "log.db")
    assert "writable for this user" in said


def opened_by_nobody(path):
    script = (
        "import asyncio, os\n"
        "from foldlog.engines.sqlite import SqliteStore\n"
        "from foldlog.errors import Misconfigured\n"
        # Root opens a store first: what is imported late may be out of reach for others.
        f"asyncio.run(SqliteStore({str(path.parent.parent / 'warm.db')!r}).open())\n"
        f"os.setuid({NOBODY})\n"
        "try:\n"
        f"    asyncio.run(SqliteStore({str(path)!r}).open())\n"
        "except Misconfigured as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout or done.stderr
