"""The commands in this process: loading apps, checking them, exit codes and help."""

import json
import subprocess
import sys
from itertools import count

import click
import pytest

import foldlog
from foldlog.cli import program as cli
from foldlog.errors import Conflict, Corrupt, Invalid, Misconfigured, NotFound, Rejected, TooLarge, Unavailable

HEAD = """
from foldlog import App, Decider, Upcast, command, event, handler, projection

@event("a.opened")
class Opened:
    owner: str

@command("a.open")
class Open:
    owner: str

def decide(command: Open, state: bool) -> list[Opened]:
    return [Opened(command.owner)]

def evolve(state: bool, event: Opened) -> bool:
    return True

@projection("owners")
def owners(row: str | None, event: Opened) -> str:
    return event.owner

account = Decider("account", decide, evolve, initial=False)
"""
numbers = count()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    monkeypatch.delenv("FOLDLOG_APP", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def write(tmp_path):
    """Writes a module under a name of its own, because Python keeps modules by name; returns its path."""

    def write(text, head=HEAD):
        path = tmp_path / f"cli_app_{next(numbers)}.py"
        path.write_text(head + text)
        return str(path)

    return write


def checked(capsys, *args):
    code = cli.run(["check", "--json", *args])
    return code, json.loads(capsys.readouterr().out)


def test_a_good_app_has_no_faults(write, capsys) -> None:
    path = write("app = App('memory:', parts=[account, owners])")
    assert checked(capsys, path) == (0, {"ok": True, "faults": [], "warnings": []})


def test_a_name_says_which_app(write, capsys) -> None:
    path = write("one = App('memory:', parts=[account, owners])\nprint('loading')")
    assert checked(capsys, f"{path}:one")[0] == 0
    code, found = checked(capsys, path)
    assert code == 1
    assert "it has the app one" in found["faults"][0]


def test_a_module_is_found_from_the_current_folder(write, capsys, monkeypatch, tmp_path) -> None:
    name = write("app = App('memory:', parts=[account, owners])").rpartition("/")[2][:-3]
    monkeypatch.chdir(tmp_path)
    assert checked(capsys, f"{name}:app")[0] == 0
    assert checked(capsys, name)[0] == 0


def test_what_no_list_names_is_a_warning_and_with_strict_a_fault(write, capsys) -> None:
    path = write("""
@event("a.closed")
class Closed: ...

@command("a.close")
class Close: ...

@handler("greet")
async def greet(event: Opened) -> None: ...

spare = Decider("spare", decide, evolve, initial=False)
old = Upcast("a.opened", 1, lambda old: old)
app = App("memory:", parts=[account])
""")
    code, found = checked(capsys, path)
    assert (code, found["ok"], found["faults"]) == (0, True, [])
    text = "\n".join(found["warnings"])
    assert len(found["warnings"]) == 6
    assert all(name in text for name in ("a.closed", "a.close", "greet", "spare", "old", "owners"))
    assert checked(capsys, path, "--strict")[0] == 1


def test_every_fault_is_shown_at_once(write, capsys) -> None:
    path = write("""
def untyped(row, event): return row
@handler("late")
async def late(event: "Nowhere") -> None: ...
app = App("nowhere:x", parts=[account, account, projection("u")(untyped), late, owners, evolve])
""")
    code, found = checked(capsys, path)
    assert code == 1
    wanted = (
        "two deciders of the category 'account'",
        "projection 'u'",
        "Nowhere",
        "is no part",
        "'nowhere:x' names no store",
    )
    assert len(found["faults"]) == len(wanted)
    assert all(any(text in fault for fault in found["faults"]) for text in wanted)


def test_a_module_that_fails_says_where(write, capsys) -> None:
    path = write("x = 1 / 0")
    code, found = checked(capsys, path)
    assert code == 1
    assert "ZeroDivisionError" in found["faults"][0]
    assert path in found["faults"][0]


@pytest.mark.parametrize("text", ["def", "import nowhere_at_all", "raise SystemExit(0)"])
def test_no_failing_module_gets_past(write, capsys, text) -> None:
    assert checked(capsys, write(text))[0] == 1


@pytest.mark.parametrize("name", ["nowhere.py", "nowhere:app", "memory:", "."])
def test_what_is_no_app_is_a_fault(capsys, name) -> None:
    assert checked(capsys, name)[0] == 1


def test_the_url_is_overridden(write, capsys) -> None:
    path = write("app = App('memory:', parts=[account, owners])")
    assert checked(capsys, path, "--url", "nothing:x")[0] == 1


def test_the_environment_names_the_app(write, capsys, monkeypatch) -> None:
    monkeypatch.setenv("FOLDLOG_APP", write("app = App('memory:', parts=[account, owners])"))
    assert checked(capsys)[0] == 0
    assert cli.run(["views", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "owners"
    assert cli.run(["send", "account", "1", "a.open", '{"owner":"Ann"}', "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["events"] == [{"type": "a.opened", "data": {"owner": "Ann"}}]


def test_without_an_app_it_is_wrong_usage(capsys) -> None:
    assert cli.run(["check"]) == 2
    assert cli.run(["views", "list"]) == 2


ERRORS = [
    (Rejected("a.no", "not now", {"left": 3}), 3),
    (Invalid("x"), 3),
    (NotFound("x"), 3),
    (TooLarge("x"), 3),
    (Conflict("s", 1, 2), 4),
    (Unavailable("x"), 5),
    (OSError(28, "No space left on device"), 5),
    (Misconfigured(faults=("x", "y")), 6),
    (Corrupt("x"), 7),
    (KeyboardInterrupt(), 130),
    (click.UsageError("x"), 2),
]


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=[type(error).__name__ for error, _ in ERRORS])
def test_every_error_has_its_exit_code_and_says_what_to_do(monkeypatch, capsys, error, code) -> None:
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(cli.program.commands["check"], "callback", fail)
    assert cli.run(["check", "x"]) == code
    people = capsys.readouterr()
    assert cli.run(["check", "x", "--json"]) == code
    machines = capsys.readouterr()
    assert people.out == machines.out == ""
    if code == 130:
        return
    assert people.err.startswith("error: ")
    assert "\nnext: " in people.err
    told = json.loads(machines.err)["error"]
    assert told["next"]
    assert told["message"] in people.err
    if isinstance(error, Rejected):
        assert (told["code"], told["message"], told["data"]) == ("a.no", "not now", {"left": 3})


def test_an_error_cannot_steer_the_terminal(capsys) -> None:
    assert cli.run(["send", "memory:", "\x1b[31m", "k", "c", "{}", "--no\x1b[2J"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def commands(group, path=()):
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", [path for path, _ in commands(cli.program)], ids=" ".join)
def test_every_command_teaches_by_example(path, capsys) -> None:
    assert cli.run([*path, "--help"]) == 0
    text = capsys.readouterr().out
    assert "\n  Example" in text
    assert any(line.startswith("    foldlog ") and path[0] in line for line in text.splitlines())


def test_help_documents_every_exit_code(capsys) -> None:
    assert cli.run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f" {code}  " in text for code in (0, 1, 2, 3, 4, 5, 6, 7, 8, 130))
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"foldlog {foldlog.__version__}\n"


def test_a_missing_driver_is_a_fault(write) -> None:
    path = write("app = App('sqlite:x.db', parts=[account, owners])")
    hidden = "import sys; sys.modules['apsw'] = None; from foldlog.cli.program import run; "
    code = f"{hidden}sys.exit(run(['check', {path!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "fault: sqlite: needs the driver apsw: pip install" in done.stdout


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_says_which_one_to_install(missing) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from foldlog.cli.main import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (6, "")
    assert "pip install 'foldlog[cli]'" in done.stderr
    assert "Traceback" not in done.stderr
