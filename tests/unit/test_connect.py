"""URLs of stores."""

import subprocess
import sys
import time
from unittest import mock

import pytest
from psycopg.conninfo import conninfo_to_dict

from foldlog.connect import connect
from foldlog.engines.postgres.address import parse
from foldlog.errors import Misconfigured
from foldlog.model.message import Kind


def test_memory_and_sqlite(tmp_path):
    assert type(connect("memory:", Kind, time.time_ns)).__name__ == "MemoryStore"
    assert type(connect("memory:?start=7", Kind, time.time_ns)).__name__ == "MemoryStore"
    for url in ("sqlite:bank.db", f"sqlite:{tmp_path}/a%20b.db?start=3", f"sqlite://{tmp_path}/x.db"):
        assert type(connect(url, Kind, time.time_ns)).__name__ == "SqliteStore"


@pytest.mark.parametrize(
    "url",
    [
        "", "bank.db", "mongo:x", "memory", "memory:x", "memory://host", "sqlite:", "sqlite:/", "sqlite://host/x.db",
        "sqlite:x.db?mode=rw", "sqlite:x.db?start=-1", "sqlite:x.db?start=",
        f"sqlite:x.db?start={2**62}", "memory:?start=x",
    ],
)  # fmt: skip
def test_what_names_no_store(url):
    with pytest.raises(Misconfigured):
        connect(url, Kind, time.time_ns)


def test_a_password_is_not_shown():
    with pytest.raises(Misconfigured) as caught:
        connect("mongodb://me:secret@host/db", Kind, time.time_ns)
    assert "secret" not in caught.value.message
    with pytest.raises(Misconfigured) as caught:
        connect("postgres://me:secret@host:5x/db?nonsense=1", Kind, time.time_ns)
    assert "secret" not in caught.value.message


def test_postgresql():
    plain = parse("postgresql://me:secret@host:5433/shop?sslmode=require&application_name=a%20b")
    assert (plain.schema, plain.proxied, plain.start) == ("foldlog", False, 0)
    assert conninfo_to_dict(plain.conninfo) == {
        "user": "me", "password": "secret", "host": "host", "port": "5433", "dbname": "shop", "sslmode": "require",
        "application_name": "a b",
    }  # fmt: skip
    assert plain.shown == "postgresql://host:5433/shop?schema=foldlog"
    told = parse("postgres:///shop?schema=s_1&proxy=transaction&start=7")
    assert (told.schema, told.proxied, told.start) == ("s_1", True, 7)
    for url in ("postgres://h/db", "postgresql:///db?schema=x"):
        assert type(connect(url, Kind, time.time_ns)).__name__ == "PostgresStore"


@pytest.mark.parametrize(
    "url",
    [
        "postgres://h/db?schema=", "postgres://h/db?schema=Shop", "postgres://h/db?schema=pg_shop", "postgres://h/d?schema=a;b",
        f"postgres://h/db?schema={'x' * 49}", "postgres://h/db?proxy=session", "postgres://h/db?start=-1",
        f"postgres://h/db?start={2**62}", "postgres://h/db?colour=red", "postgres:x",
    ],
)  # fmt: skip
def test_what_no_server_is_asked(url):
    with pytest.raises(Misconfigured):
        connect(url, Kind, time.time_ns)


def test_a_driver_is_loaded_for_its_own_url_only():
    code = (
        "import sys, foldlog.connect as c; from foldlog.model.message import Kind; import foldlog\n"
        "c.connect('memory:', Kind, int); c.connect('sqlite:x.db', Kind, int); assert 'psycopg' not in sys.modules\n"
        "c.connect('postgres:///x', Kind, int); assert 'psycopg' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_missing_driver_says_what_to_install():
    with (
        mock.patch("foldlog.connect.import_module", side_effect=ModuleNotFoundError(name="apsw")),
        pytest.raises(Misconfigured, match="pip install 'foldlog'"),
    ):
        connect("sqlite:x.db", Kind, time.time_ns)
    for scheme in ("postgres", "postgresql"):
        with (
            mock.patch("foldlog.connect.import_module", side_effect=ModuleNotFoundError(name="psycopg")),
            pytest.raises(Misconfigured, match=r"pip install 'foldlog\[postgres\]'"),
        ):
            connect(f"{scheme}:///x", Kind, time.time_ns)
    with (
        mock.patch("foldlog.connect.import_module", side_effect=ModuleNotFoundError(name="other")),
        pytest.raises(ModuleNotFoundError),
    ):
        connect("sqlite:x.db", Kind, time.time_ns)
