"""The command line on a store in PostgreSQL: moving there is a change of URL."""

import json
import signal

import pytest

from tests.integration.cli_process import PATIENCE, foldlog, line, machine, start, until, write_app


@pytest.fixture(scope="module")
def postgres(durable_postgres):
    """`doctor` looks at the server's settings."""
    return durable_postgres


@pytest.fixture
def url(postgres_url):
    return postgres_url()


@pytest.fixture
def app(tmp_path, url):
    path = write_app(tmp_path)
    text = path.read_text()
    path.write_text(text.replace('f"sqlite:{Path(__file__).parent}/bank.db"', repr(url)))
    assert path.read_text() != text
    return path


@pytest.fixture
def running(app):
    """Two processes that share the functions."""
    processes = [start("run", app, "--json") for _ in range(2)]
    for process in processes:
        assert json.loads(line(process))["ready"]
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=PATIENCE)


def send(app, key, name, data, *options):
    return machine("send", app, "account", key, name, json.dumps(data), *options)[0]


def test_work_is_sent_shared_shown_and_stopped(app, url, tmp_path, running):
    for key in ("1", "2", "3"):
        assert send(app, key, "account.open", {"owner": f"o{key}"})["version"] == 1
    assert send(app, "1", "account.deposit", {"amount": 5}, "--command-id", "d1")["version"] == 2
    assert send(app, "1", "account.deposit", {"amount": 5}, "--command-id", "d1")["repeated"] is True
    until(lambda: (tmp_path / "greeted").exists() and len((tmp_path / "greeted").read_text().split()) == 3)
    assert sorted((tmp_path / "greeted").read_text().split()) == ["o1", "o2", "o3"]
    assert [one["type"] for one in machine("events", url)] == ["account.opened"] * 3 + ["account.deposited"]
    until(lambda: '"1"' in foldlog("views", app, "find", "balances", "--json")[0])
    states = {one["function"]: one for one in machine("functions", app)}
    assert set(states) >= {"view.balances.1", "handler.greet"}
    assert "account.opened" in foldlog("why", app, "account-1@1")[0]
    checks = {one["check"]: one["state"] for one in machine("doctor", app)[0]["findings"]}
    assert "fail" not in checks.values()
    assert checks["safe head"] == checks["triggers"] == "ok"
    for process in running:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, (out, err)


def test_dead_letters_are_replayed_from_another_process(app, tmp_path, running):
    (tmp_path / "broken").touch()
    send(app, "1", "account.open", {"owner": "ann"})
    until(lambda: machine("dead-letters", app, "list"))
    (letter,) = machine("dead-letters", app, "list")
    (tmp_path / "broken").unlink()
    foldlog("dead-letters", app, "replay", letter["id"])
    until((tmp_path / "greeted").exists)
    until(lambda: not machine("dead-letters", app, "list"))


def test_a_log_moves_between_the_engines(app, url, tmp_path):
    for number in range(3):
        send(app, str(number), "account.open", {"owner": "ann"})
    file, beside = tmp_path / "log.jsonl", f"sqlite:{tmp_path}/copy.db"
    file.write_text(foldlog("export", url)[0])
    foldlog("import", beside, file)
    foldlog("import", f"{url}_back", file)
    wanted = [(one["stream"], one["version"], one["id"]) for one in machine("events", url)]
    for copy in (beside, f"{url}_back"):
        assert [(one["stream"], one["version"], one["id"]) for one in machine("events", copy)] == wanted


def test_what_a_server_cannot_do_is_told(app, url):
    send(app, "1", "account.open", {"owner": "ann"})
    assert "only a file is forked" in foldlog("fork", url, f"{url}_fork", "--at", "1", code=6)[1]
    _, err = foldlog("events", "postgresql://me:secret@127.0.0.1:1/x", code=5)
    assert "secret" not in err
    assert "connection" in err
