"""`foldlog views rebuild, diff, switch, back, drop` as processes on one SQLite file."""

import json
import signal
import subprocess
import sys

import pytest

from tests.integration.cli_process import PATIENCE, foldlog, machine, start, until, write_app

NEW = """
@projection("balances", version=2, switch="manual")
def richer(row: int | None, event: Deposited) -> int:
    return (row or 0) + event.amount + (event.amount == 7)

new = App(f"sqlite:{Path(__file__).parent}/bank.db", parts=[account, richer, greet], lease=0.5)
"""

FILL = """
from bank import *
with app.blocking() as b:
    for key in range(9):
        b.send(account, str(key), Open("Ann"))
        b.send(account, str(key), Deposit(key + 1))
    b.settle()
"""


@pytest.fixture
def app(tmp_path):
    """A bank whose first version was built, and an app `new` with the second."""
    path = write_app(tmp_path)
    path.write_text(path.read_text() + NEW)
    done = subprocess.run([sys.executable, "-c", FILL], cwd=tmp_path, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    return path


def views(app, *args, code=0, name=":new"):
    return machine("views", f"{app}{name}", *args, code=code)


def test_a_version_is_built_compared_switched_to_taken_back_and_dropped(app, tmp_path) -> None:
    greeted = (tmp_path / "greeted").read_text()
    assert [(one["version"], one["read"], one["percent"]) for one in views(app, "list")] == [
        (1, True, 100),
        (2, False, 0),
    ]
    assert views(app, "switch", "balances", code=3) == []
    (built,) = views(app, "rebuild", "balances")
    assert (built["version"], built["built"], built["read"], built["percent"]) == (2, True, 1, 100)
    assert views(app, "rebuild", "balances") == [built]
    assert views(app, "get", "balances", "6") == [7]
    differs = {"key": "6", "kind": "changed", "first": 7, "second": 8}
    assert views(app, "diff", "balances", code=1) == [differs]
    assert views(app, "diff", "balances", "--from", "2", "--to", "1", code=1) == [differs | {"first": 8, "second": 7}]
    assert views(app, "switch", "balances") == [{"name": "balances", "read": 2, "before": 1, "behind": 0}]
    assert views(app, "get", "balances", "6") == [8]
    assert views(app, "drop", "balances", "2", code=3) == []
    assert views(app, "back", "balances") == [{"name": "balances", "read": 1, "before": 2, "behind": 0}]
    assert views(app, "get", "balances", "6") == [7]
    assert views(app, "switch", "balances", "--version", "2")[0]["read"] == 2
    assert views(app, "drop", "balances", "1") == [{"name": "balances", "dropped": 1, "dead_letters": 0}]
    assert [one["version"] for one in views(app, "list")] == [2]
    assert views(app, "back", "balances", code=3) == []
    assert (tmp_path / "greeted").read_text() == greeted


def test_people_are_told_what_happened_and_what_to_do_next(app) -> None:
    new = f"{app}:new"
    _, err = foldlog("views", new, "switch", "balances", code=3)
    assert "has no version 2 in this store; there: 1" in err
    out, _ = foldlog("views", new, "rebuild", "balances", "--rate", "100000")
    assert out == "balances version 2 is built; version 1 is read\n"
    out, _ = foldlog("views", new, "diff", "balances", code=1)
    assert "1 changed, 0 missing, 0 new" in out
    out, err = foldlog("views", new, "diff", "balances", "--limit", "1", "--to", "1", "--from", "2", code=1)
    assert "changed" in out
    _, err = foldlog("views", app, "diff", "balances", code=3)
    assert "name another by --from or --to" in err
    foldlog("send", app, "account", "1", "account.deposit", '{"amount": 1}')
    process = start("run", app)
    until(lambda: machine("views", app, "list")[0]["behind"] == 0)
    _, err = foldlog("views", new, "diff", "balances", code=1)
    assert "some rows may differ for that alone" in err
    foldlog("views", new, "switch", "balances")
    _, err = foldlog("views", new, "drop", "balances", "1", code=3)
    assert "stop the processes whose code has version 1 first" in err
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    out, _ = foldlog("views", new, "drop", "balances", "1")
    assert out == "balances version 1 is dropped, 0 dead letters with it\n"


def test_a_projection_that_no_code_has_any_more_is_dropped(app) -> None:
    assert (
        "--removed is for those that no code has"
        in foldlog("views", app, "drop", "balances", "1", "--removed", code=3)[1]
    )
    source = app.read_text()
    app.write_text(source.replace('projection("balances"', 'projection("sums"'))
    (warning,) = [one for one in machine("doctor", app)[0]["findings"] if one["check"] == "tables"]
    assert "drop balances 1 --removed" in warning["next"]
    assert "the store has version 1: --removed drops it" in foldlog("views", app, "drop", "balances", "1", code=3)[1]
    assert "there is no view 'nope'" in foldlog("views", app, "drop", "nope", "1", code=3)[1]
    assert views(app, "drop", "balances", "1", "--removed")[0]["dropped"] == 1
    assert not [one for one in machine("doctor", app)[0]["findings"] if one["check"] == "tables"]


def test_a_rebuild_that_is_stopped_goes_on(app) -> None:
    process = start("views", f"{app}:new", "rebuild", "balances", "--rate", "1", "--json")
    until(lambda: views(app, "list")[-1]["position"] > 0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    stopped = json.loads(out)
    assert (process.returncode, stopped["built"]) == (130, False)
    assert "the same command goes on from here" in err.decode()
    assert 0 < stopped["position"] < 18
    assert views(app, "rebuild", "balances")[0]["built"]
    assert views(app, "diff", "balances", code=1)[0]["key"] == "6"


def test_a_rebuild_goes_on_from_a_killed_one(app) -> None:
    process = start("views", f"{app}:new", "rebuild", "balances", "--rate", "1")
    until(lambda: views(app, "list")[-1]["position"] > 0)
    process.kill()
    process.communicate(timeout=PATIENCE)
    before = views(app, "list")[-1]
    assert not before["built"]
    assert views(app, "rebuild", "balances")[0]["built"]
    assert [one["key"] for one in views(app, "diff", "balances", code=1)] == ["6"]
