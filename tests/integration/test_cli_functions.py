"""`foldlog functions`, and `--watch` of it and of the other lists, beside the processes that they tell of."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import time

import msgspec
import pytest

from foldlog.connect import connect
from foldlog.flow.members import MEMBERS, Member, Vitals
from foldlog.model.clock import SystemClock
from foldlog.model.message import Kind
from foldlog.ports.store import Batch, Put, RowKey
from tests.integration.cli_process import (
    PATIENCE,
    command,
    end,
    environment,
    foldlog,
    line,
    machine,
    until,
)

NOTHING = {"number": 0, "more": False}
LISTS = {"functions": ["functions"], "views": ["views", "list"], "letters": ["dead-letters", "list"]}


def opened(app, *keys):
    for key in keys:
        foldlog("send", app, "account", key, "account.open", '{"owner": "Ann"}')


def listed(app):
    return {one["function"]: one for one in machine("functions", app)}


def test_a_log_that_was_never_opened_and_one_that_nobody_runs(app) -> None:
    assert "there is no log" in foldlog("functions", app, code=3)[1]
    assert not list(app.parent.glob("*.db*"))
    opened(app, "1", "2")
    found = listed(app)
    assert list(found) == ["view.balances.1", "handler.greet"]
    greet = found["handler.greet"]
    assert (greet["lag"]["number"], greet["nobody"], greet["processes"]) == (2, 16, [])
    assert greet["lag"]["seconds"] > 0
    table = foldlog("functions", app)[0].splitlines()
    assert table[0].split()[:2] == ["function", "lag"]
    assert "nobody 16" in table[2]
    assert "name the app" in foldlog("functions", f"sqlite:{app.parent}/bank.db", code=6)[1]


def test_two_processes_share_and_one_that_is_killed_is_no_owner_beyond_its_lease(app, started) -> None:
    app.write_text(app.read_text().replace("greet])", "greet], lease=3)"))
    one, two = (started("run", app) for _ in range(2))
    for process in (one, two):
        assert line(process).startswith("ready: ")
    mine = {one.pid, two.pid}

    def owners():
        shares = [
            {(int(process["owner"].split(":")[1]), process["partitions"]) for process in found["processes"]}
            for found in listed(app).values()
        ]
        return shares[0] if shares[0] == shares[1] else set()

    until(lambda: owners() == {(pid, 8) for pid in mine})
    opened(app, *"abcdefgh")
    until(lambda: listed(app)["handler.greet"]["events"] == 8)  # the sum of what both have told
    greet = listed(app)["handler.greet"]
    assert sum(process["events"] for process in greet["processes"]) == 8
    assert [process["breaker"] for process in greet["processes"]] == ["closed", "closed"]
    assert greet["lag"] == NOTHING | {"seconds": 0}
    two.kill()
    two.communicate()
    until(lambda: owners() == {(one.pid, 16)})
    one.kill()
    one.communicate()
    until(lambda: {found["nobody"] for found in listed(app).values()} == {16})
    assert all(found["processes"] == [] for found in listed(app).values())


def test_an_open_breaker_dead_letters_and_failed_attempts(app, started) -> None:
    breaker = "retry=Backoff(attempts=1), breaker=Breaker(keys=2, rate=1, pause=300)"
    text = app.read_text().replace("retry=Backoff(attempts=1)", breaker)
    app.write_text(text.replace("import App, Backoff,", "import App, Backoff, Breaker,"))
    (app.parent / "broken").touch()
    opened(app, "1", "2", "3", "4")
    process = started("run", app)
    line(process)
    until(lambda: (found := listed(app)["handler.greet"])["processes"] and found["processes"][0].get("until"))
    until(lambda: (found := listed(app)["handler.greet"])["errors"] == found["dead_letters"]["number"] >= 2)
    (process,) = listed(app)["handler.greet"]["processes"]
    assert process["breaker"] == "open"
    assert process["waiting"] >= 2
    table = foldlog("functions", app)[0]
    assert "open until " in table
    assert " of 10,000" in table


def test_hostile_names_and_apps_without_functions(app) -> None:
    opened(app, "1")
    app.write_text(app.read_text().replace('"greet"', '"[bold]x"'))
    assert "misconfigured" in foldlog("functions", app, code=6)[1]  # names of functions have a grammar
    source = app.read_text()
    app.write_text(source.replace("parts=[account, balances, greet]", "parts=[account]").replace('"[bold]x"', '"x"'))
    for parts in ("[account]", "[]"):
        app.write_text(app.read_text().replace("parts=[account]", f"parts={parts}"))
        assert machine("functions", app) == []
        out, err = foldlog("functions", app)
        assert out.split()[0] == "function"
        assert "no functions" in err


def plant(app, owner, member):
    """A heartbeat of another process."""

    async def write():
        store = connect(f"sqlite:{app.parent}/bank.db", Kind, SystemClock().now)
        await store.open()
        await store.commit(Batch(rows=[Put(MEMBERS, RowKey("", owner), msgspec.json.encode(member))]))
        await store.close()

    asyncio.run(write())


def test_why_a_function_stopped_for_good_stands_below_the_table(app) -> None:
    opened(app, "1")
    plant(app, "host:7:x", Member(1, 2**62, (), stopped={"handler.greet": "misconfigured: \x1b[2Jno"}))
    err = foldlog("functions", app)[1]
    assert err == "handler.greet has stopped for good in host:7: misconfigured: \\x1b[2Jno\n"
    (process,) = listed(app)["handler.greet"]["processes"]
    assert process == {"owner": "host:7:x", "partitions": 0, "stopped": "misconfigured: \x1b[2Jno"}


def test_a_breaker_whose_patience_is_over_says_that_attempts_count(app) -> None:
    opened(app, "1")
    until_then = SystemClock().now() + 3600_000_000
    plant(app, "host:7:x", Member(1, 2**62, ("handler.greet",), (Vitals(breaker=until_then, impatient=True),)))
    assert "Z, attempts count" in foldlog("functions", app)[0]
    assert [one["impatient"] for one in listed(app)["handler.greet"]["processes"]] == [True]


def test_names_that_a_hostile_process_left_are_shown_not_obeyed(app) -> None:
    opened(app, "1")
    plant(app, "[bold]host:\u202e7:x", Member(1, 2**62, ("view.[red]x[/red]\u202e",)))
    for args in ([], ["--json"]):
        out = foldlog("functions", app, *args)[0]
        assert "[red]x[/red]" in out
        assert "[bold]" in out
        assert out.replace("\n", "").isprintable()


@pytest.mark.parametrize("args", LISTS.values(), ids=LISTS)
def test_watch_tells_machines_one_array_a_look_until_ctrl_c(app, started, args) -> None:
    opened(app, "1")
    process = started(args[0], app, *args[1:], "--watch", "--json")
    first, second = json.loads(line(process)), json.loads(line(process))
    assert first == machine(args[0], app, *args[1:]) or args == ["functions"]
    assert isinstance(second, list)
    code, _, err = end(process, signal.SIGINT)
    assert (code, err) == (130, "")


@pytest.mark.parametrize("args", LISTS.values(), ids=LISTS)
def test_watch_into_a_pipe_prints_one_table_after_the_other(app, started, args) -> None:
    opened(app, "1")
    process = started(args[0], app, *args[1:], "--watch", "1")
    head = line(process)
    until(lambda: line(process) == head)  # no cursor is moved, nothing is cleared
    code, _, err = end(process, signal.SIGINT)
    assert (code, err) == (130, "")


@pytest.mark.parametrize("args", LISTS.values(), ids=LISTS)
def test_watch_redraws_a_terminal_and_leaves_it_clean(app, args) -> None:
    opened(app, "1")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(args[0], app, *args[1:], "--watch"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment(), "TERM": "xterm", "COLUMNS": "200"},
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    try:
        began = time.monotonic()
        while shown.count(b"\x1b[2K") < 2:  # drawn, and drawn again over it
            assert time.monotonic() - began < PATIENCE
            shown += os.read(ours, 10_000)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        while chunk := _rest(ours):
            shown += chunk
    finally:
        process.kill()
        os.close(ours)
    assert shown.count(b"\x1b[?25l") == 1  # the cursor is hidden once …
    assert shown.rstrip().endswith(b"\x1b[?25h")  # … and shown again at the end
    assert b"Traceback" not in shown


def _rest(terminal):
    try:
        return os.read(terminal, 10_000)
    except OSError:  # its other end is closed
        return b""


def test_watch_by_a_reader_that_goes_away_is_no_error(app) -> None:
    opened(app, "1")
    process = subprocess.Popen(
        command("functions", app, "--watch", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    process.stdout.readline()
    process.stdout.close()
    assert (process.stderr.read(), process.wait(PATIENCE)) == (b"", 0)
    process.stderr.close()


@pytest.mark.parametrize("every", ["0", "nan", "4000", "soon"])
def test_watch_refuses_times_that_make_no_sense(app, every) -> None:
    assert "--watch" in foldlog("functions", app, "--watch", every, code=2)[1]
