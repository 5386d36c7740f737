"""`foldlog doctor` finds what is wrong with a file, and says what to do; it changes nothing."""

import asyncio
import os
from collections import Counter

import pytest

from foldlog import connect, limits
from foldlog.cli import coldstart
from foldlog.engines.sqlite import SqliteStore, checkup, files
from foldlog.model.finding import FAIL, OK, WARN
from foldlog.model.message import Draft
from foldlog.ports.store import Append, Batch, Put, RowKey, Table
from tests.integration.cli_process import foldlog, machine, write_app


@pytest.fixture
def log(tmp_path):
    """A file with 90 events of 3 streams and a table."""

    async def body():
        store = SqliteStore(tmp_path / "log.db")
        await store.open()
        for number in range(30):
            appends = [Append(f"a-{n}", [Draft("t", 1, b'"%d"' % number)]) for n in range(3)]
            await store.commit(Batch(appends, [Put(Table("view.x.1"), RowKey("", "a"), b"1")]))
        await store.close()

    asyncio.run(body())
    return tmp_path / "log.db"


def look(path, *, deep=False):
    return asyncio.run(connect.examine(f"sqlite:{path}", deep=deep))


def found(path, state, *, deep=False):
    return {one.check: one.what for one in look(path, deep=deep).findings if one.state == state}


def altered(path, *statements):
    conn, _ = files.open_file(str(path))
    for trigger in ("events_stay", "events_are_kept"):
        conn.execute(f"DROP TRIGGER IF EXISTS {trigger}").fetchall()
    for statement in statements:
        conn.execute(statement).fetchall()
    conn.close()


@pytest.mark.parametrize("deep", [False, True])
def test_a_sound_file(log, deep):
    before = log.read_bytes()
    examined = look(log, deep=deep)
    checks = {one.check for one in examined.findings}
    assert checks >= {"files", "disk space", "fsync", "wal", "settings", "positions", "integrity"}
    assert ({"time order", "versions", "names"} <= checks) == deep
    # How fast and how full this disk is, is not the file's fault.
    assert {one.check for one in examined.findings if one.state != OK} <= {"disk space", "fsync"}
    assert (examined.kinds, examined.tables) == ([("a", "t", 1)], ["view.x.1"])
    assert log.read_bytes() == before


@pytest.mark.parametrize(
    ("statement", "check", "what"),
    [
        ("UPDATE events SET time = time + 10000000 WHERE position = 7", "time order", "events recorded before"),
        ("DELETE FROM events WHERE position = 7", "versions", "streams with versions"),
        ("UPDATE events SET kind = 9 WHERE position = 7", "names", "events of a kind"),
        ("UPDATE events SET stream = 9 WHERE position = 90", "names", "events of a kind"),
    ],
)
def test_deep_finds_what_does_not_belong_together(log, statement, check, what):
    altered(log, statement)
    told = found(log, FAIL, deep=True)[check]
    assert (told.startswith(what), told.endswith(": 1")) == (True, True)
    assert check not in found(log, FAIL)


def test_holes(log):
    altered(log, "DELETE FROM events WHERE position IN (7, 8)")
    assert found(log, WARN)["positions"] == "88 events at positions 1 to 90; 2 empty positions between them"


def test_a_damaged_page(log):
    damaged = bytearray(log.read_bytes())
    place = damaged.rfind(b'"7"')
    damaged[place] ^= 1
    log.write_bytes(damaged)
    fails = found(log, FAIL, deep=True)
    assert str(log) in fails["integrity"]
    (opened,) = [one for one in look(log, deep=True).findings if one.check == "integrity" and one.state == FAIL][:1]
    assert "restore a backup" in opened.next
    (told,) = machine("doctor", f"sqlite:{log}", "--deep", code=1)
    assert told["ok"] is False


def test_indexes_that_disagree_with_their_table(log):
    altered(
        log,
        "PRAGMA writable_schema = ON",
        "DELETE FROM sqlite_schema WHERE name = 'events_by_kind'",
        "PRAGMA writable_schema = OFF",
    )
    assert "integrity" in found(log, FAIL, deep=True)


def test_what_others_may_read(log):
    log.chmod(0o644)
    assert found(log, WARN)["files"] == "others than the owner may open log.db"


def test_a_disk_that_is_slow_full_or_keeps_nothing_and_a_long_wal(log, monkeypatch):
    monkeypatch.setattr(limits, "FSYNC_SLOW", 0.0)
    monkeypatch.setattr(limits, "DISK_LOW", 2**62)
    monkeypatch.setattr(checkup, "KEPT", -1)
    warned = found(log, WARN)
    assert {"fsync", "disk space", "wal"} <= warned.keys()
    monkeypatch.setattr(limits, "FSYNC_SLOW", 60.0)
    monkeypatch.setattr(limits, "FSYNC_FAST", 60.0)
    assert "too fast for a disk" in found(log, WARN)["fsync"]


def test_other_settings_than_foldlogs(log, monkeypatch):
    real = checkup.connect

    def opened(path, *, readonly=False):
        conn = real(path, readonly=readonly)
        conn.execute("PRAGMA synchronous = NORMAL").fetchall()
        return conn

    monkeypatch.setattr(checkup, "connect", opened)
    assert found(log, FAIL)["settings"] == "synchronous is 1, not 2"


def test_a_file_that_goes_away_meanwhile(tmp_path):
    fails = found(tmp_path / "no" / "log.db", FAIL, deep=True)
    assert {"disk space", "fsync", "integrity"} <= fails.keys()
    assert "No such file" in fails["disk space"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_files_of_somebody_else(log):
    os.chown(log, 65_534, -1)
    assert found(log, WARN)["files"] == "the files belong to user 65534, this is 0"


def test_memory_has_nothing_below():
    (finding,) = asyncio.run(connect.examine("memory:", deep=True)).findings
    assert finding.state == OK


def test_the_command(tmp_path):
    app = write_app(tmp_path)
    assert "there is no log" in foldlog("doctor", app, code=3)[1]
    foldlog("send", app, "account", "1", "account.open", '{"owner": "Ann"}')
    out, _ = foldlog("doctor", app, "--deep")
    assert "ok    integrity: all" in out
    assert "warn  leases: handler.greet never ran" in out
    assert "next: start `foldlog run APP`" in out
    assert out.splitlines()[-1].endswith("0 fail")
    (told,) = machine("doctor", app)
    assert told["ok"] is True
    cold = next(one for one in told["findings"] if one["check"] == "cold start")
    assert "heaviest imports (ms): " in cold["what"]
    (bare,) = machine("doctor", f"sqlite:{tmp_path}/bank.db")
    assert {one["check"] for one in told["findings"]} - {one["check"] for one in bare["findings"]} == {
        "decoding",
        "folds",
        "leases",
    }
    app.write_text(app.read_text().replace("owner: str\n    note", "keeper: str\n    note").replace('("owner",)', "()"))
    out, _ = foldlog("doctor", app, code=1)
    assert "fail  decoding: account-1@1 (position 1)" in out
    (tmp_path / "bank.db").write_bytes(b"no database at all" * 100)
    out, _ = foldlog("doctor", app, code=1)
    assert "fail  opening: misconfigured" in out


def test_a_cold_start(tmp_path, monkeypatch):
    app = write_app(tmp_path)
    finding = coldstart.cold_start(f"{app}:app", is_url=False)
    assert " ms, of which Python itself " in finding.what
    monkeypatch.setattr(limits, "COLD_START", 0.0)
    assert coldstart.cold_start("memory:", is_url=True).state == WARN
    broken = coldstart.cold_start("no.such.module:app", is_url=False)
    assert (broken.state, "No module named" in broken.what) == (FAIL, True)
    monkeypatch.setattr(coldstart, "_PATIENCE", 0.0)
    assert "is not imported after" in coldstart.cold_start(str(app), is_url=False).what


def test_what_importtime_prints():
    told = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:       100 |        100 |   a.b\nimport time:        50 |        150 | a\nanother line\n"
        "import time:         7 |          7 | c\n"
    )
    assert coldstart._heaviest(told) == Counter({"a": 150, "c": 7})  # noqa: SLF001 - its parser
