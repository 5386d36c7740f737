"""run, send, events, views and dead-letters as processes on one SQLite file."""

import json
import signal
import subprocess

import pytest

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


@pytest.fixture
def url(tmp_path):
    return f"sqlite:{tmp_path}/bank.db"


def opened(app, key="17", owner="Ann", note=""):
    fields = json.dumps({"owner": owner, "note": note}).encode()
    return machine("send", app, "account", key, "account.open", "-", stdin=fields)[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_says_when_it_is_ready_works_and_stops_cleanly(app, tmp_path, started, number) -> None:
    process = started("run", app, "--json")
    ready = json.loads(line(process))
    assert (ready["ready"], ready["functions"], ready["pid"]) == (
        True,
        ["view.balances.1", "handler.greet"],
        process.pid,
    )
    opened(app)
    until((tmp_path / "greeted").exists)
    code, out, err = end(process, number)
    assert (code, out, (tmp_path / "greeted").read_text()) == (0, "", "Ann\n")
    assert all(json.loads(one)["level"] for one in err.splitlines())


def test_run_tells_at_once_which_function_has_stopped_and_fails_with_the_last(app, started) -> None:
    row = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Row:\n    whole: int\n\n"
    source = app.read_text().replace('@projection("balances")', f'{row}@projection("balances")')
    fold = "(row: int | None, event: Deposited) -> int:\n    return (row or 0) + event.amount"
    source = source.replace(fold, "(row: Row | None, event: Deposited) -> Row:\n    return Row(event.amount)")
    app.write_text(source)
    first = started("run", app)
    line(first)
    end(first)
    assert foldlog("check", app, "--store")[0].endswith("good to run\n")
    app.write_text(source.replace('"balances")', '"balances", indexes=("whole",))'))
    foldlog("check", app)
    assert "fault: view.balances.1 was made with the indexes ()" in foldlog("check", app, "--store", code=1)[0]
    elsewhere = f"sqlite:{app.parent}/elsewhere.db"
    assert "there is no log" in foldlog("check", app, "--store", "--url", elsewhere, code=3)[1]
    process = started("run", app)
    assert line(process).startswith("stopped: view.balances.1, until this process starts anew: misconfigured: ")
    assert process.stdout.readline().endswith(b"runs 1 of 2 functions: handler.greet\n")
    end(process)
    app.write_text(app.read_text().replace(", balances, greet]", ", balances]"))
    process = started("run", app, "--json")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, json.loads(out)["stopped"]) == (6, "view.balances.1")
    assert "was made with the indexes" in json.loads(err.splitlines()[-1])["error"]["message"]


def test_a_second_signal_ends_a_run_at_once(app, tmp_path, started) -> None:
    hanging = 'import asyncio\n    (here / "begun").touch()\n    await asyncio.sleep(1000)\n    if'
    app.write_text(app.read_text().replace('if (here / "broken")', f'{hanging} (here / "broken")'))
    process = started("run", app)
    assert line(process).startswith("ready: ")
    opened(app)
    until((tmp_path / "begun").exists)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)  # it waits for the handler
    assert end(process)[0] == -signal.SIGTERM


def test_a_command_is_sent_once_refused_or_rejected(app, url) -> None:
    receipt = opened(app)
    assert (receipt["stream"], receipt["version"], receipt["repeated"]) == ("account-17", 1, False)
    deposit = ("send", app, "account", "17", "account.deposit")
    foldlog(*deposit, "-", "--command-id", "d1", "--actor", "bob", stdin=b'{"amount": 5}')
    assert machine(*deposit, '{"amount": 5}', "--command-id", "d1")[0]["repeated"] is True
    _, err = foldlog(*deposit, '{"amount": -5}', "--json", code=3)
    error = json.loads(err)["error"]
    assert (error["code"], error["message"], error["data"]) == (
        "account.not-possible",
        "cannot do that now",
        {"open": True},
    )
    for bad in ('{"amount": "5"}', '{"amount": 5, "x": 1}', '{"amount": 5, "amount": 6}', '{"amount": NaN}', "{", "[]"):
        assert "error: invalid: " in foldlog(*deposit, bad, code=3)[1]
    assert "known: account.deposit" in foldlog("send", app, "account", "1", "account.close", "{}", code=3)[1]
    assert "known: account" in foldlog("send", app, "bank", "1", "account.open", "{}", code=3)[1]
    found = machine("events", url)
    assert [(one["version"], one["type"], one["actor"]) for one in found] == [
        (1, "account.opened", ""),
        (2, "account.deposited", "bob"),
    ]


def test_events_are_found_by_what_they_are(app, url) -> None:
    opened(app, "1", "Ann")
    opened(app, "2", "Bob")
    machine("send", app, "account", "2", "account.deposit", '{"amount": 5}')
    machine("send", app, "account", "1", "account.open", '{"owner": "Cy"}', "--tenant", "acme")

    def positions(*filters):
        return [one["position"] for one in machine("events", url, *filters)]

    everything = positions()
    assert len(everything) == 4
    second, third, fourth = everything[1:]
    assert positions("--stream", "account-2") == [second, third]
    assert positions("--stream", "account-2", "--after", 1) == [third]
    assert positions("--category", "account", "--tenant", "acme") == [fourth]
    assert positions("--type", "account.deposited") == [third]
    assert positions("--type", "account.deposited", "--type", "account.opened", "--limit", 3) == everything[:3]
    assert positions("--tag", "owner:Bob") == [second]
    assert positions("--after", second, "--limit", 1) == [third]
    assert positions("--backward", "--limit", 2) == [fourth, third]
    assert positions("--since", "2200-01-01T00:00:00Z") == positions("--until", "2000-01-01T00:00:00Z") == []
    assert positions("--since", "2000-01-01T00:00:00Z", "--until", "2200-01-01T00:00:00Z") == everything
    out, err = foldlog("events", app, "--limit", 2)
    assert out.splitlines()[0].split() == ["position", "recorded", "stream", "version", "type", "data"]
    assert len(out.splitlines()) == 3
    assert f"--after {second}" in err


@pytest.mark.parametrize(
    ("filters", "code"),
    [
        (["--backward", "--follow"], 2),
        (["--limit", "0"], 2),
        (["--after", "-1"], 2),
        (["--since", "noon"], 3),
        (["--since", "2026-01-01T00:00:00"], 3),
        (["--stream", "x"], 3),
        (["--tag", "x"], 3),
    ],
)
def test_bad_filters_are_refused(app, url, filters, code) -> None:
    opened(app)
    assert foldlog("events", url, *filters, code=code)[1].startswith("error: ")


def test_looking_makes_no_log(tmp_path, app) -> None:
    for args in (["events", f"sqlite:{tmp_path}/typo.db"], ["views", app, "list"], ["dead-letters", app, "list"]):
        assert "there is no log" in foldlog(*args, code=3)[1]
    assert list(tmp_path.glob("*.db")) == []


def test_looking_makes_no_log_of_an_empty_file(tmp_path, app) -> None:
    file = tmp_path / "bank.db"
    file.touch()
    for args in (["events", f"sqlite:{file}"], ["views", app, "list"], ["dead-letters", app, "list"], ["doctor", app]):
        assert f"there is no log at {file}, the file is empty; " in foldlog(*args, code=3)[1]
        assert file.stat().st_size == 0
    opened(app)
    assert machine("events", app)


def test_what_is_no_store_is_told(tmp_path) -> None:
    (tmp_path / "text.db").write_text("this is no database, but a text that is long enough to be seen as one" * 100)
    _, err = foldlog("events", f"sqlite:{tmp_path}/text.db", code=6)
    assert err.startswith("error: misconfigured: ")
    assert foldlog("events", "mongo://x", code=6)[1].startswith("error: misconfigured: ")
    _, err = foldlog("events", f"sqlite:{tmp_path}", code=6)
    assert f"{tmp_path} is a folder: name a file in it, like sqlite:{tmp_path}/bank.db" in err
    for typo in ("sqlit:x.db", "SQLite:x.db"):
        assert "; did you mean the store sqlite:x.db?" in foldlog("events", typo, code=6)[1]


def test_follow_shows_what_other_processes_write_until_ctrl_c(app, url, started) -> None:
    opened(app, "1")
    process = started("events", url, "--follow", "--json")
    assert json.loads(line(process))["stream"] == "account-1"
    opened(app, "2")
    assert json.loads(line(process))["stream"] == "account-2"
    assert end(process, signal.SIGINT) == (130, "", "")


def test_follow_of_one_stream_sees_no_other(app, url, started) -> None:
    opened(app, "1")
    process = started("events", url, "--follow", "--stream", "account-1")
    assert " account-1@1 " in line(process)
    opened(app, "2")
    machine("send", app, "account", "1", "account.deposit", '{"amount": 5}')
    assert " account-1@2 " in line(process)


@pytest.mark.parametrize(
    "args", [["events"], ["events", "--json"], ["events", "--follow", "--json"], ["export"]], ids=" ".join
)
def test_a_reader_that_goes_away_is_no_error(url, args) -> None:
    event = {"specversion": "1.0", "source": "/s", "type": "a.b", "subject": "account-1", "data": "x" * 400}
    foldlog("import", url, stdin="".join(f"{json.dumps({**event, 'id': str(n)})}\n" for n in range(5_000)).encode())
    writer = subprocess.Popen(
        command(args[0], url, *args[1:]), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    if args != ["events"]:
        writer.stdout.read(10)  # a table is short enough to fit into the pipe
    writer.stdout.close()
    assert (writer.stderr.read(), writer.wait(PATIENCE)) == (b"", 0)
    writer.stderr.close()


def test_hostile_text_is_shown_not_obeyed(app, url) -> None:
    opened(app, "\U0001f600[bold]", note="[red]x[/red]\x9b2J\u202e")
    for args in (["events", url], ["events", url, "--json"]):
        out = foldlog(*args)[0]
        assert "[red]x[/red]" in out
        assert "[bold]" in out
        assert out.replace("\n", "").isprintable()


def test_views_are_listed_got_and_found(app, started) -> None:
    for key, amount in (("1", 10), ("2", 20), ("3", 30)):
        opened(app, key)
        machine("send", app, "account", key, "account.deposit", json.dumps({"amount": amount}))
    behind = machine("views", app, "list")[0]
    assert (behind["name"], behind["version"], behind["behind"], behind["parked"]) == ("balances", 1, 6, 0)
    process = started("run", app)
    line(process)
    until(lambda: machine("views", app, "list")[0]["behind"] == 0)
    assert machine("views", app, "get", "balances", "2") == [20]
    assert foldlog("views", app, "get", "balances", "2")[0] == "20\n"
    assert "not-found" in foldlog("views", app, "get", "balances", "9", code=3)[1]
    assert "known: balances" in foldlog("views", app, "get", "nothing", "9", code=3)[1]
    assert foldlog("views", app, "get", "balances", "2", "--tenant", "acme", code=3)
    found = machine("views", app, "find", "balances", "--low", "2")
    two, three = {"key": "2", "value": 20, "stale": False}, {"key": "3", "value": 30, "stale": False}
    assert found == [two, three]
    assert machine("views", app, "find", "balances", "--backward", "--limit", 1) == [three]
    assert "no index" in foldlog("views", app, "find", "balances", "--index", "x", code=3)[1]
    assert end(process)[0] == 0


def test_stale_rows_are_told_from_the_others(app, started) -> None:
    fold = "    return (row or 0) + event.amount"
    app.write_text(app.read_text().replace(fold, f"    if event.amount == 13: raise ValueError(event)\n{fold}"))
    for key, amounts in (("1", (5, 13, 7)), ("2", (5, 7)), ("3", (13,))):
        opened(app, key)
        for amount in amounts:
            machine("send", app, "account", key, "account.deposit", json.dumps({"amount": amount}))
    process = started("run", app)
    line(process)
    until(lambda: machine("views", app, "list")[0]["behind"] == 0)
    assert machine("views", app, "list")[0]["parked"] == 2
    assert machine("views", app, "find", "balances") == [
        {"key": "1", "value": 5, "stale": True},
        {"key": "2", "value": 12, "stale": False},
    ]
    assert [row.split() for row in foldlog("views", app, "find", "balances")[0].splitlines()] == [
        ["key", "row"],
        ["1", "stale", "5"],
        ["2", "12"],
    ]
    out, err = foldlog("views", app, "get", "balances", "1")
    assert (out, err.partition(":")[0]) == ("5\n", "stale")
    assert foldlog("views", app, "get", "balances", "2") == ("12\n", "")
    assert "failed on an event of '3'" in foldlog("views", app, "get", "balances", "3", code=3)[1]
    assert end(process)[0] == 0


def test_dead_letters_are_handled_from_another_process(app, url, tmp_path, started) -> None:
    (tmp_path / "broken").touch()
    process = started("run", app)
    line(process)
    for key, owner in (("1", "Ann"), ("2", "Bob"), ("3", "Cy")):
        opened(app, key, owner)
    until(lambda: len(machine("dead-letters", app, "list", "--function", "greet")) == 3)
    letters = machine("dead-letters", url, "list", "--function", "greet")
    assert [one["key"] for one in letters] == ["1", "2", "3"]
    assert "no paper [bold]left" in foldlog("dead-letters", url, "list")[0]
    shown = machine("dead-letters", url, "show", letters[0]["id"])[0]
    assert "Traceback" in shown["error"]
    assert "account-1" in foldlog("dead-letters", url, "show", letters[0]["id"])[0]
    (tmp_path / "broken").unlink()
    assert machine("dead-letters", url, "discard", letters[1]["id"]) == [{"discarded": 1}]
    assert machine("dead-letters", url, "replay", "--key", "3", "--function", "greet") == [{"replayed": 1}]
    assert machine("dead-letters", url, "replay", "--all") == [{"replayed": 1}]
    greeted = tmp_path / "greeted"
    until(lambda: greeted.exists() and sorted(greeted.read_text().split()) == ["Ann", "Cy"])
    assert machine("dead-letters", url, "list") == []
    assert foldlog("dead-letters", url, "show", letters[1]["id"], code=3)
    for which in ([], ["--all", "--key", "1"], ["x", "--key", "1"]):
        assert foldlog("dead-letters", url, "replay", *which, code=2)
    assert end(process)[0] == 0


def test_dead_letters_of_a_function_that_nobody_knows_and_none_at_all(app, url) -> None:
    opened(app)
    for what in ("list", "replay", "discard"):
        err = foldlog("dead-letters", app, what, "--function", "mial", code=3)[1]
        assert "there is no function 'handler.mial'; known: handler.greet, view.balances.1" in err
    assert "known: none" in foldlog("dead-letters", url, "list", "--function", "greet", code=3)[1]
    assert foldlog("dead-letters", app, "list", "--function", "greet")[1] == "no dead letters of greet\n"
    assert foldlog("dead-letters", url, "list")[1] == "no dead letters\n"
    assert foldlog("dead-letters", url, "list", "--json") == ("", "")
