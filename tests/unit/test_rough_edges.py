"""What a newcomer gets wrong, and what Foldlog says then: an error of its own, never a bare one of Python's."""

import asyncio
import json
import sys
from itertools import count
from pathlib import Path

import pytest

from foldlog import App, Decider, Query, handler, projection
from foldlog.cli import program
from foldlog.errors import Invalid, Misconfigured, NotFound
from tests.unit.bank import Deposit, Open, Opened, account, balances, decide, evolve

numbers = count()


@handler("greet")
async def greet(event: Opened) -> None:
    pass


twin = Decider("account", decide, evolve, initial=None)
other = Decider("other", decide, evolve, initial=None)


async def each(events):
    return [event async for event in events]


CALLS = {
    "a name is no part": (lambda app: app.get("account", "1"), "name the part itself"),
    "a function is no part": (lambda app: app.get(decide, "1"), "is its decorator missing"),
    "a handler has no rows": (lambda app: app.get(greet, "1"), "takes a projection"),
    "a decider has no rows": (lambda app: app.find(account), "takes a projection"),
    "an unlisted part": (lambda app: app.get(other, "1"), r"listed: Decider\('account'\), Projection\('balances'"),
    "a part imported twice": (lambda app: app.get(twin, "1"), "imported twice"),
    "a dict is no key of a state": (lambda app: app.get(account, {}), "stream key {}"),
    "a dict is no key of a row": (lambda app: app.get(balances, {}), "row key {}"),
    "a number is no receipt": (lambda app: app.get(balances, "1", after=5), "receipt that `send` returned"),
    "a function decides nothing": (lambda app: app.send(decide, "1", Open("A")), "is its decorator missing"),
    "a projection decides nothing": (lambda app: app.send(balances, "1", Open("A")), "takes a decider"),
    "a text is no principal": (lambda app: app.send(account, "1", Open("A"), principal="ann"), "write Principal"),
    "a dict is no command id": (lambda app: app.send(account, "1", Open("A"), command_id={}), "command id {}"),
    "a text is no found row": (lambda app: app.find(balances, after="x"), "last row that `find` returned"),
    "a dict is no query": (lambda app: each(app.read({})), "bad query {}"),
    "a number is no query": (lambda app: each(app.read(5)), "bad query 5"),
    "a decider is no query": (lambda app: each(app.read(account)), "a stream's id"),
    "a dict is no stream": (lambda app: each(app.read(Query(stream={}))), "bad stream '{}'"),
    "a name has no dead letters": (lambda app: app.dead_letters("greet"), "name the part itself"),
    "a decider has no dead letters": (
        lambda app: app.dead_letters(account),
        "takes a handler, a process or a projection",
    ),
    "a name is not replayed": (lambda app: app.replay("greet"), "name the part itself"),
}


@pytest.mark.parametrize(("call", "said"), CALLS.values(), ids=CALLS)
def test_a_wrong_argument_is_named_and_nothing_is_stored(call, said, site) -> None:
    async def main():
        async with site.app([account, balances, greet]) as app:
            with pytest.raises((Invalid, NotFound), match=said):
                await call(app)
            assert await app.system.store.head() == 0
            await app.send(account, "1", Open("Ann"))
            await app.send(account, "1", Deposit(5))

    asyncio.run(main())


@pytest.mark.parametrize(
    "make",
    [
        lambda: App(None, []),
        lambda: App(Path("bank.db"), []),
        lambda: App("memory:", account),
        lambda: App("memory:", None),
        lambda: App("memory:", [], lease="x"),
        lambda: projection(lambda row, event: row),
        lambda: handler(greet),
    ],
)
def test_what_is_made_wrongly_is_misconfigured(make) -> None:
    with pytest.raises(Misconfigured):
        make()


# ---------------------------------------------------------------- the command line

BROKEN = """
from foldlog import App, Decider, command, event, projection

@event("a.done")
class Done:
    n: int

@command("a.do")
class Do:
    n: int

def decide(command: Do, state: int) -> list[Done]:
    return [Done(10 // command.n)]

def evolve(state: int, event: Done) -> int:
    return state + event.n

@projection("sums")
def sums(row: int | None, event: Done) -> int:
    return event.n

one = Decider("a", decide, evolve, initial=0)
"""


@pytest.fixture(autouse=True)
def _as_started(monkeypatch, tmp_path):
    monkeypatch.delenv("FOLDLOG_APP", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / f"rough_{next(numbers)}.py"
    path.write_text(BROKEN + f"app = App('sqlite:{tmp_path}/a.db', parts=[one, sums])\n")
    return path


def test_code_that_fails_is_shown_where_it_stands_and_stores_nothing(broken, capsys) -> None:
    assert program.run(["send", str(broken), "a", "1", "a.do", '{"n": 0}']) == 9
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert lines[0] == "error: app-failed: ZeroDivisionError: integer division or modulo by zero"
    assert lines[1] == f"  {broken}:13 in decide: return [Done(10 // command.n)]"
    assert len(lines) == 3  # nothing of Foldlog's own frames
    assert program.run(["send", str(broken), "a", "1", "a.do", '{"n": 0}', "--json"]) == 9
    told = json.loads(capsys.readouterr().err)["error"]
    assert told["code"] == "app-failed"
    assert told["data"] == [lines[1].strip()]
    assert program.run(["events", str(broken), "--json"]) == 0
    assert capsys.readouterr().out == ""


def test_a_fault_of_our_own_is_not_taken_for_the_user_s(monkeypatch) -> None:
    monkeypatch.setattr("foldlog.cli.running.find", None)
    with pytest.raises(TypeError):
        program.run(["check", "x"])


def test_nothing_asked_for_is_answered_with_help(capsys) -> None:
    for args in ([], ["views"], ["dead-letters"]):
        assert program.run(args) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("Usage: foldlog ")
        assert "\n  Example" in said.err


def test_a_file_that_is_a_store_is_told_from_a_module(broken, capsys, tmp_path) -> None:
    assert program.run(["send", str(broken), "a", "1", "a.do", '{"n": 5}']) == 0
    capsys.readouterr()
    assert program.run(["events", "a.db"]) == 6
    assert "the store in that file is sqlite:a.db" in capsys.readouterr().err


def test_a_row_that_is_not_there_yet_says_what_brings_it(broken, capsys) -> None:
    assert program.run(["send", str(broken), "a", "1", "a.do", '{"n": 5}']) == 0
    assert program.run(["views", str(broken), "get", "sums", "1"]) == 3
    assert "1 event behind the log: `foldlog run`" in capsys.readouterr().err


def test_an_event_that_the_code_no_longer_reads_is_no_damage(broken, capsys) -> None:
    assert program.run(["send", str(broken), "a", "1", "a.do", '{"n": 5}']) == 0
    changed = broken.with_name(f"rough_{next(numbers)}.py")
    changed.write_text(broken.read_text().replace("    n: int", "    m: int").replace("command.n", "command.m"))
    assert program.run(["send", str(changed), "a", "1", "a.do", '{"m": 5}']) == 7
    said = capsys.readouterr().err
    assert "give it a new version and an Upcast" in said
    assert "what is stored is as it was written" in said
    assert "backup" not in said
    assert program.run(["send", str(broken), "a", "1", "a.do", '{"n": 5}']) == 0


def test_a_store_that_does_not_open_is_told_to_doctor_s_readers_as_to_all_others(tmp_path, capsys) -> None:
    (tmp_path / "text.db").write_text("hello")
    assert program.run(["doctor", "sqlite:text.db", "--json"]) == 1
    finding = json.loads(capsys.readouterr().out)["findings"][0]
    assert finding["what"] == "misconfigured: text.db is not a Foldlog database"
    assert finding["next"].startswith("correct the code, the URL or a setting")


@pytest.mark.parametrize("group", ["views", "schema", "dead-letters"])
def test_a_group_s_command_before_the_app_is_told_the_order(group, broken, capsys) -> None:
    command = "lock" if group == "schema" else "list"
    for words in ([command, str(broken)], [command]):
        assert program.run([group, *words]) == 2
        assert f"the app stands before the command: foldlog {group} APP {command}" in capsys.readouterr().err


def test_an_app_may_be_called_like_a_command(tmp_path, capsys) -> None:
    (tmp_path / "back.py").write_text(BROKEN + "app = App('memory:', parts=[one, sums])\n")
    assert program.run(["views", "back", "list"]) == 0
    sys.modules.pop("back")


def test_what_names_neither_app_nor_store(capsys) -> None:
    for name, said in (
        ("", "'' names no app"),
        (":app", "':app' names no app"),
        ("sqlite", "there is no module sqlite"),
    ):
        assert program.run(["events", name]) == 6
        assert said in capsys.readouterr().err


def test_nothing_found_is_said_and_machines_get_nothing(broken, capsys) -> None:
    assert program.run(["send", str(broken), "a", "1", "a.do", '{"n": 5}']) == 0
    capsys.readouterr()
    assert program.run(["events", str(broken), "--type", "a.dnoe"]) == 0
    assert capsys.readouterr().err.startswith("no event found")
    assert program.run(["events", str(broken)]) == 0
    assert capsys.readouterr().err == ""
    assert program.run(["events", str(broken), "--type", "a.dnoe", "--json"]) == 0
    assert capsys.readouterr() == ("", "")


def test_why_shows_how_the_stream_s_event_is_written(broken, capsys) -> None:
    for typed, example in (("a-1", "a-1@1"), ("a-1@", "account-17@1"), ("17", "account-17@1")):
        assert program.run(["why", str(broken), typed]) == 3
        assert f"write its stream and version, {example};" in capsys.readouterr().err


# ---------------------------------------------------------------- files inside packages


def package(root, name, **modules):
    folder = root / name
    folder.mkdir(parents=True)
    for module, text in {"__init__": "", **modules}.items():
        (folder / f"{module}.py").write_text(text)
    return folder


def test_a_file_inside_a_package_is_loaded_as_a_part_of_it(tmp_path, capsys) -> None:
    name = f"rough_package_{next(numbers)}"
    top = package(tmp_path, name, domain=BROKEN)
    app = f"from foldlog import App\nfrom {name}.domain import one\nfrom ..domain import sums\n"
    inner = package(top, "inner", app=app + "app = App('memory:', parts=[one, sums])\n")
    assert program.run(["check", str(inner / "app.py")]) == 0
    assert f"{name}.inner.app" in sys.modules
    assert str(tmp_path) in sys.path
    assert str(inner) not in sys.path  # else its neighbours would hide modules of the same name


def test_a_package_itself_may_hold_the_app(tmp_path) -> None:
    name = f"rough_package_{next(numbers)}"
    top = package(tmp_path, name, domain=BROKEN)
    text = f"from foldlog import App\nfrom {name}.domain import one\napp = App('memory:', parts=[one])\n"
    (top / "__init__.py").write_text(text)
    assert program.run(["check", str(top / "__init__.py")]) == 0
    assert program.run(["check", name]) == 0


def test_a_package_that_another_hides_is_said(tmp_path, capsys) -> None:
    folder = package(tmp_path / "deep", "json", app="from foldlog import App\napp = App('memory:', [])\n")
    assert program.run(["check", str(folder / "app.py")]) == 1
    assert "Python finds another 'json' first: rename the package" in capsys.readouterr().out


def test_a_folder_that_cannot_be_a_package_is_none(tmp_path) -> None:
    folder = package(tmp_path, "my-app", start="from foldlog import App\napp = App('memory:', [])\n")
    (folder / f"rough_{next(numbers)}.py").write_text("from foldlog import App\napp = App('memory:', [])\n")
    assert program.run(["check", str(next(folder.glob("rough_*.py")))]) == 0
