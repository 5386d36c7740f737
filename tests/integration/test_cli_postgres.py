"""The command line on a store in PostgreSQL: moving there is a change of URL."""

import json
import signal
import sys

import psycopg
import pytest

from foldlog.cli.program import run
from foldlog.engines.postgres.address import parse
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


PROCESS = """
@event("order.placed")
class Placed:
    pass

def follow(state: int | None, event: Placed) -> int:
    return (state or 0) + 1

from foldlog.process import Process
app = App(URL, parts=[account, balances, greet, Process("count", lambda event, state: None, follow, None, on=Placed)])
"""


@pytest.fixture
def told(app, url, capsys, monkeypatch):
    """Run a command in this process; returns its exit code and what it said on standard error."""
    monkeypatch.delenv("FOLDLOG_APP", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    app.write_text(app.read_text() + PROCESS.replace("URL", repr(url)))

    def told(*args):
        capsys.readouterr()
        return run([str(one) for one in args]), capsys.readouterr().err

    return told


def schemas(url):
    with psycopg.connect(parse(url).conninfo) as conn:
        return [name for (name,) in conn.execute("SELECT nspname::text FROM pg_namespace")]


LOOKING = [
    "events URL",
    "export URL",
    "why URL account-1@1",
    "doctor URL",
    "doctor APP",
    "check APP --store",
    "functions APP",
    "views APP list",
    "views APP get balances 1",
    "views APP find balances",
    "views APP rebuild balances",
    "views APP diff balances",
    "views APP switch balances",
    "views APP back balances",
    "views APP drop balances 2",
    "dead-letters APP list",
    "dead-letters URL list",
    "dead-letters APP replay x",
    "processes APP list",
    "processes APP show count 1",
    "processes APP cancel count 1",
]


def test_looking_makes_no_store(app, url, told):
    for command in LOOKING:
        code, said = told(*[{"APP": app, "URL": url}.get(word, word) for word in command.split()])
        schema = parse(url).schema
        assert (code, "there is no log at postgresql://127.0.0.1:" in said, f"schema={schema};" in said) == (
            3, True, True,
        ), (command, said)  # fmt: skip
        assert "`foldlog run`, `send` and `import` make new ones" in said
        assert schema not in schemas(url)
    send(app, "1", "account.open", {"owner": "ann"})
    assert told("events", url)[0] == 0


def test_a_url_that_leads_to_no_database_is_told(postgres, told):
    server = f"127.0.0.1:{postgres.port}"
    with psycopg.connect(postgres.conninfo, autocommit=True) as conn:
        conn.execute("DROP ROLE IF EXISTS guarded")
        conn.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
        conn.execute("DROP ROLE IF EXISTS silent")
        conn.execute("CREATE ROLE silent NOLOGIN")
        conn.execute("CREATE DATABASE closed")
        conn.execute("REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
        file = postgres.data / "pg_hba.conf"
        rules = file.read_text()
        file.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\nhost barred all 127.0.0.1/32 reject\n{rules}")
        conn.execute("SELECT pg_reload_conf()")
    for url, says in {
        f"postgresql://postgres@{server}/nowhere": 'database "nowhere" does not exist',
        f"postgresql://stranger@{server}/postgres": 'role "stranger" does not exist',
        f"postgresql://guarded:wrong@{server}/postgres": 'password authentication failed for user "guarded"',
        f"postgresql://guarded@{server}/postgres": "no password supplied",
        f"postgresql://postgres@{server}/barred": "pg_hba.conf rejects connection",
        f"postgresql://silent@{server}/postgres": 'role "silent" is not permitted to log in',
        f"postgresql://guarded:right@{server}/closed": 'permission denied for database "closed"',
        f"postgresql:{server}/postgres": "lacks its //",
        f"postgresql://{server}/postgres?schema=A": "schema='A'",
    }.items():
        for command in ("doctor", "events"):
            code, said = told(command, url)
            assert code == 6, (command, url, said)
            assert says in said
            assert "next: correct" in said
            assert "wrong" not in said
    for url, says in {
        "postgresql://127.0.0.1:1/x": "Connection refused",
        "postgresql://nowhere.invalid/x": "failed to resolve host",
    }.items():
        code, said = told("events", url)
        assert (code, says in said) == (5, True), said
        assert "\t" not in said
        assert "the server" in said.rpartition("next: ")[2]
        assert told("doctor", url)[0] == 1


def test_a_driver_that_is_not_there_is_named(told, monkeypatch):
    for name in [one for one in sys.modules if one.startswith("foldlog.engines.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as where it is not installed
    for command in ("doctor", "events"):
        code, said = told(command, "postgresql://127.0.0.1/x")
        assert code == 6
        assert "pip install 'foldlog[postgres]'" in said
