"""URLs of stores."""

import time
from unittest import mock

import pytest

from foldlog.connect import connect
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
        connect("postgres://me:secret@host/db", Kind, time.time_ns)
    assert "secret" not in caught.value.message


def test_a_missing_driver_says_what_to_install():
    with (
        mock.patch("foldlog.connect.import_module", side_effect=ModuleNotFoundError(name="apsw")),
        pytest.raises(Misconfigured, match="pip install 'foldlog'"),
    ):
        connect("sqlite:x.db", Kind, time.time_ns)
    with (
        mock.patch("foldlog.connect.import_module", side_effect=ModuleNotFoundError(name="other")),
        pytest.raises(ModuleNotFoundError),
    ):
        connect("sqlite:x.db", Kind, time.time_ns)
