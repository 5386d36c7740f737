"""`foldlog views get | find --at`, as an operator runs them."""

import json

import pytest

from tests.integration.cli_process import foldlog, machine, write_app


@pytest.fixture
def app(tmp_path):
    path = write_app(tmp_path)
    for key in "12":
        machine("send", path, "account", key, "account.open", '{"owner": "ann"}')
        for amount in (5, 7):
            machine("send", path, "account", key, "account.deposit", json.dumps({"amount": amount}))
    return path


def test_rows_are_shown_as_they_were(app) -> None:
    assert machine("views", app, "get", "balances", "1", "--at", 2) == [5]
    assert foldlog("views", app, "get", "balances", "1", "--at", 3)[0] == "12\n"
    assert "had no row '2'" in foldlog("views", app, "get", "balances", "2", "--at", 3, code=3)[1]
    assert machine("views", app, "find", "balances", "--at", 5) == [
        {"key": "1", "value": 12, "stale": False},
        {"key": "2", "value": 5, "stale": False},
    ]
    assert machine("views", app, "find", "balances", "--backward", "--at", "9999-12-31T00:00:00Z") == [
        {"key": "2", "value": 12, "stale": False},
        {"key": "1", "value": 12, "stale": False},
    ]
    assert machine("views", app, "find", "balances", "--at", "2020-01-01T00:00:00+01:00", "--by", "occurred") == []
    assert machine("views", app, "get", "balances", "1", code=3) == []  # no function ran


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (["--at", "7"], "the log has positions from 0, before the first event, to 6"),
        (["--at", "-1"], "bad at -1"),
        (["--at", "yesterday"], "is no position and no time: write 17, or 2026-01-31T12:00:00Z"),
        (["--at", "9" * 5000], "is no position and no time"),
        (["--at", "2026-01-01T00:00:00"], "no time zone"),
        (["--at", "1", "--by", "occurred"], "goes with a time"),
        (["--by", "occurred"], "write at= too"),
    ],
)
def test_what_is_no_moment_is_refused_with_a_reason(app, how, why) -> None:
    for command in (["get", "balances", "1"], ["find", "balances"]):
        out, told = foldlog("views", app, *command, *how, "--json", code=3)
        assert out == ""
        assert why in json.loads(told)["error"]["message"]
