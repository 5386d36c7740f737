"""export and import as processes: nothing lost, nothing doubled, killed or not."""

import json
import signal

import pytest

from foldlog.model.stream import split_stream
from tests.integration.cli_process import PATIENCE, foldlog, machine, start, until, write_app

SENT = [("1", "", "Ann"), ("2", "", "Bob ü"), ("1", "acme", "Cy")]


def envelope(event):
    """What an event keeps when it moves."""
    kept = ("tenant", "stream", "version", "type", "schema", "occurred", "id", "correlation", "causation", "command_id")
    return {name: event[name] for name in (*kept, "actor", "traceparent", "tags", "headers", "encoding", "data")}


def lines(count, stream="account-{}"):
    event = {"specversion": "1.0", "source": "/s", "type": "account.deposited", "data": {"amount": 1}}
    made = [json.dumps({**event, "id": str(n), "subject": stream.format(n // 50)}) for n in range(count)]
    return "\n".join(made) + "\n"


@pytest.fixture
def log(tmp_path):
    """A log with some events of two tenants."""
    app = write_app(tmp_path)
    for key, tenant, owner in SENT:
        fields = json.dumps({"owner": owner, "note": "\x1b[0m"})
        foldlog("send", app, "account", key, "account.open", fields, "--tenant", tenant, "--actor", "me")
    return f"sqlite:{tmp_path}/bank.db"


def test_a_log_that_moves_keeps_its_events(log, tmp_path) -> None:
    file, copy = tmp_path / "a.jsonl", f"sqlite:{tmp_path}/copy.db"
    assert machine("export", log, file) == [{"exported": 3, "position": 3}]
    assert machine("import", copy, file)[0]["imported"] == 3
    before, after = machine("events", log), machine("events", copy)
    assert [envelope(one) for one in after] == [envelope(one) for one in before]
    assert [one["data"]["owner"] for one in after] == [owner for _, _, owner in SENT]
    assert [one["position"] for one in machine("events", copy, "--tag", "owner:Ann")] == [1]
    assert machine("import", copy, file)[0]["imported"] == 3
    assert len(machine("events", copy)) == 3
    again, _ = foldlog("export", copy, "-")
    once = [json.loads(line) for line in file.read_text().splitlines()]
    twice = [json.loads(line) for line in again.splitlines()]
    renewed = {"source", "recordedtime", "foldposition", "foldversion"}
    assert [{n: v for n, v in one.items() if n not in renewed} for one in twice] == [
        {n: v for n, v in one.items() if n not in renewed} for one in once
    ]


def test_an_export_through_a_pipe_is_read_from_one(log, tmp_path) -> None:
    out, err = foldlog("export", log)
    assert "3 events exported" in err
    copy = f"sqlite:{tmp_path}/copy.db"
    foldlog("import", copy, stdin=out.encode())
    assert len(machine("events", copy)) == 3
    for _ in range(2):
        foldlog("import", copy, "-", "--name", "second", stdin=out.encode())
    assert len(machine("events", copy)) == 6


def test_an_export_goes_on_where_its_file_ends(log, tmp_path) -> None:
    file = tmp_path / "a.jsonl"
    foldlog("export", log, file)
    whole = file.read_bytes()
    assert "--resume" in foldlog("export", log, file, code=3)[1]
    first = whole.index(b"\n") + 1
    for cut in (0, 10, first, first + 10, len(whole)):
        file.write_bytes(whole[:cut])
        foldlog("export", log, file, "--resume")
        assert file.read_bytes() == whole
    file.write_bytes(whole[:first])
    foldlog("export", log, file, "--after", 1)
    assert file.read_bytes() == whole
    file.write_text("something else\n")
    assert foldlog("export", log, file, "--resume", code=3)
    assert file.read_text() == "something else\n"


def test_a_killed_import_goes_on_and_doubles_nothing(tmp_path) -> None:
    file, copy = tmp_path / "a.jsonl", f"sqlite:{tmp_path}/copy.db"
    file.write_text(lines(20_000))

    def stored():
        found = machine("events", copy, "--backward", "--limit", 1) if (tmp_path / "copy.db").exists() else []
        return found[0]["position"] if found else 0

    kills = 0
    for goal in (1, 3_000, 8_000):
        process = start("import", copy, file)
        until(lambda goal=goal, process=process: process.poll() is not None or seen(tmp_path) >= goal)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE)
        kills += process.returncode == -signal.SIGKILL
        assert stored() % 1_000 == 0 or stored() == 20_000
    assert kills >= 1
    assert machine("import", copy, file)[0]["imported"] == 20_000
    out, _ = foldlog("events", copy, "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert [int(one["id"]) for one in found] == list(range(20_000))


def seen(folder):
    """Roughly how many events stand in the write-ahead log, without asking the store that is being killed."""
    wal = folder / "copy.db-wal"
    return wal.stat().st_size // 200 if wal.exists() else 0


BROKEN = ["{", '{"id":"1","id":"1"}', '{"specversion":"1.0"}', "[]"]


def test_broken_lines_stop_an_import_or_are_counted_and_listed(tmp_path) -> None:
    good = lines(30).splitlines()
    mixed = [*good[:10], *BROKEN, *good[10:]]
    file, rejects = tmp_path / "a.jsonl", tmp_path / "rejects.jsonl"
    file.write_text("\n".join(mixed))
    one, two = f"sqlite:{tmp_path}/one.db", f"sqlite:{tmp_path}/two.db"
    out, err = foldlog("import", one, file, code=3)
    assert "10 events imported" in out
    assert err.startswith("error: invalid: line 11: ")
    assert "--from-line 11" in err
    assert len(machine("events", one)) == 10
    file.write_text("\n".join([*mixed[:10], *good[10:]]))
    foldlog("import", one, file, "--from-line", 11)
    assert [event["id"] for event in machine("events", one)] == [str(n) for n in range(30)]

    file.write_text("\n".join(mixed))
    (report,) = machine("import", two, file, "--on-error", "skip", "--rejects", rejects, code=8)
    assert (report["imported"], report["skipped"]) == (30, 4)
    assert [one["line"] for one in report["broken"]] == [11, 12, 13, 14]
    listed = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [(one["line"], one["code"]) for one in listed] == [(n, "invalid") for n in (11, 12, 13, 14)]
    assert [event["id"] for event in machine("events", two)] == [str(n) for n in range(30)]
    assert "line 12: " in foldlog("import", two, file, "--name", "x", "--on-error", "skip", code=8)[1]


def test_events_of_others_go_where_the_category_says(tmp_path) -> None:
    file, url = tmp_path / "a.jsonl", f"sqlite:{tmp_path}/one.db"
    file.write_text(lines(100, "Order {}"))
    assert "--category" in foldlog("import", url, file, code=3)[1]
    foldlog("import", url, file, "--category", "order")
    assert {split_stream(event["stream"]) for event in machine("events", url)} == {
        ("order", "Order 0"),
        ("order", "Order 1"),
    }


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["nowhere.jsonl"], 2),
        (["."], 2),
        (["--on-error", "what"], 2),
        (["--category", "A"], 3),
        (["--from-line", "0"], 2),
    ],
)
def test_wrong_words_are_told(tmp_path, args, code) -> None:
    assert foldlog("import", f"sqlite:{tmp_path}/one.db", *args, code=code)[1].startswith("error: ")
