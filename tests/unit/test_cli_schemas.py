"""`foldlog schema`: the lock file beside an app, in CI and in a shell."""

import json
import sys
from itertools import count

import pytest

from foldlog.cli import program as cli
from foldlog.model.history import read_history

APP = """
from foldlog import App, Decider, Upcast, command, event

@event("a.opened", version={version})
class Opened:
    {fields}

@command("a.open")
class Open:
    owner: str

def decide(command: Open, state: bool) -> list[Opened]:
    return []

def evolve(state: bool, event: Opened) -> bool:
    return True

app = App("memory:", parts=[Decider("a", decide, evolve, initial=False), {more}])
"""
numbers = count()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    monkeypatch.delenv("FOLDLOG_APP", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def app(tmp_path):
    """Writes an app into one folder, each time as a module of another name; returns its path."""

    def write(fields="owner: str", version=1, more=""):
        path = tmp_path / f"schema_app_{next(numbers)}.py"
        path.write_text(APP.format(fields=fields, version=version, more=more))
        return str(path)

    return write


@pytest.fixture
def told(capsys):
    """Runs `foldlog schema`; returns (exit code, output, errors), decoded where it is JSON."""

    def run(*args):
        code = cli.run(["schema", *args])
        out, err = capsys.readouterr()
        return code, json.loads(out) if "--json" in args and out else out, err

    return run


def test_lock_check_and_change(app, told, tmp_path):
    lock = tmp_path / "foldlog.lock.json"
    code, out, _ = told(app(), "lock")
    assert (code, lock.is_file()) == (0, True)
    assert "written, 2 shapes of 2 versions" in out
    before = lock.read_bytes()
    assert told(app(), "lock")[1].strip() == f"{lock}: up to date, 2 shapes of 2 versions"
    assert told(app(), "check")[:2] == (0, f"{lock}: 2 versions, 0 breaks, 0 not locked\n")
    assert told(app(), "diff")[:2] == (0, f"{lock}: nothing differs\n")

    broken = app("owner: int")
    code, out, _ = told(broken, "check")
    assert code == 1
    assert "event a.opened version 1: changed, not locked: none" in out
    assert "breaks backward: $.owner str cannot be read as int" in out
    assert 'mend: raise the version to 2 and list Upcast("a.opened", 1, change)' in out
    code, out, _ = told(broken, "lock")
    assert (code, lock.read_bytes()) == (1, before)
    assert "not written, 1 break: mend it, or see --accept" in out
    code, out, _ = told(broken, "diff")
    assert code == 0
    assert [line.split() for line in out.splitlines()[:2]] == [
        ["kind", "name", "version", "field", "locked", "code"],
        ["event", "a.opened", "1", "changed", "owner", "str", "int"],
    ]

    assert told(broken, "lock", "--accept", "a.opened")[0] == 0
    assert told(broken, "check")[0] == 0
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".py")] in (
        ["foldlog.lock.json"],
        ["__pycache__", "foldlog.lock.json"],
        ["foldlog.lock.json", "__pycache__"],
    )


def test_a_good_change_that_is_not_locked_yet_fails_the_check_with_what_to_run(app, told):
    told(app(), "lock")
    code, out, _ = told(app("owner: str\n    note: str = ''"), "check")
    assert code == 1
    assert "0 breaks, 1 not locked: run `foldlog schema APP lock` and commit the file" in out
    code, out, _ = told(app("note: str = ''"), "check", "--require", "full")
    assert code == 1
    assert "breaks forward: $.owner was never written" in out


def test_an_upcast_mends_the_check(app, told):
    told(app(), "lock")
    mended = app("owner: int", version=2, more="Upcast('a.opened', 1, lambda old: {'owner': len(old['owner'])})")
    assert told(mended, "lock")[0] == 0
    code, out, _ = told(mended, "check", "--json")
    assert code == 0
    assert [(one["name"], one["version"], one["status"]) for one in out["changes"]] == [
        ("a.open", 1, "unchanged"),
        ("a.opened", 1, "upcast"),
        ("a.opened", 2, "unchanged"),
    ]


def test_json_for_machines(app, told, tmp_path):
    told(app(), "lock")
    broken = app("owner: int")
    code, out, _ = told(broken, "check", "--json")
    (change,) = [one for one in out["changes"] if one["kind"] == "event"]
    assert (code, out["ok"], out["require"]) == (1, False, "backward")
    assert out["file"] == str(tmp_path / "foldlog.lock.json")
    assert (change["status"], change["verdict"], change["locked"], change["ok"]) == ("changed", "none", False, False)
    assert [(one["path"], one["breaks"]) for one in change["findings"]] == [
        ("$.owner", "backward"),
        ("$.owner", "forward"),
    ]
    assert told(broken, "diff", "--json")[1]["changes"][0]["fields"] == [
        {"path": "owner", "before": "str", "after": "int"}
    ]
    code, out, _ = told(broken, "lock", "--json")
    assert (code, out["ok"], out["written"]) == (1, False, False)


def test_another_file_and_the_app_from_the_environment(app, told, tmp_path, monkeypatch):
    monkeypatch.setenv("FOLDLOG_APP", app())
    other = tmp_path / "other.json"
    assert told("lock", "--file", str(other), "--json")[1]["written"] is True
    assert len(read_history(other.read_bytes()).kept) == 2
    assert told("check", "--file", str(other))[0] == 0


@pytest.mark.parametrize("command", ["check", "diff"])
def test_without_a_lock_file_the_first_step_is_named(app, told, command):
    code, _, err = told(app(), command)
    assert code == 3
    assert "there is no lock file" in err
    assert "`foldlog schema APP lock` writes the first one" in err


@pytest.mark.parametrize("command", ["lock", "check", "diff"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<<<<<<< HEAD\n{}", "marks of a merge"),
        (b'{"format": 9}', "install a newer foldlog"),
        (b"{", "not acceptable as JSON"),
        (b"\0" * 20_000_000, "at most 16,777,216 bytes"),
    ],
)
def test_a_broken_file_is_refused_and_left_alone(app, told, tmp_path, command, content, why):
    lock = tmp_path / "foldlog.lock.json"
    lock.write_bytes(content)
    code, _, err = told(app(), command)
    assert code == 3
    assert why in err
    assert lock.read_bytes() == content


def test_wrong_usage_and_urls(app, told, tmp_path):
    assert told("sqlite:bank.db", "check")[0] == 6
    assert told(app(), "check", "--require", "perfect")[0] == 2
    code, _, err = told(app(), "lock", "--accept", "a.opened")
    assert (code, "nothing is broken under the name 'a.opened'" in err) == (3, True)
    assert told(app(), "lock", "--file", str(tmp_path / "no" / "such.json"))[0] == 5


def test_a_version_without_an_upcast_does_not_even_load(app, told):
    code, _, err = told(app(version=2), "check")
    assert code == 6
    assert "no Upcast starts at version 1" in err
