"""`foldlog why` as an operator runs it."""

import asyncio

from foldlog.engines.sqlite import SqliteStore
from foldlog.model.message import Draft, Meta, encode_meta, event_id
from foldlog.ports.store import Append, Batch
from tests.integration.cli_process import foldlog, line, machine, start, until, write_app

OPEN = '{"owner": "Ann [red]"}'


def test_a_chain_with_a_dead_letter(tmp_path):
    app = write_app(tmp_path)
    (tmp_path / "broken").touch()
    foldlog("send", app, "account", "1", "account.open", OPEN, "--actor", "me", "--command-id", "c-1")
    out, _ = foldlog("why", app, "account-1@1")
    assert "account-1@1 account.opened" in out
    assert "command c-1 by me" in out
    assert "<- asked for" in out
    assert "handler.greet: never ran" in out
    running = start("run", app)
    try:
        assert line(running).startswith("ready")
        until(lambda: machine("dead-letters", app, "list"))
    finally:
        running.terminate()
        running.communicate()
    (letter,) = machine("dead-letters", app, "list")
    out, _ = foldlog("why", app, "account-1@1")
    assert "handler.greet: dead after 1 attempts" in out
    assert "no paper [bold]left" in out
    assert letter["id"] in out
    assert "view.balances" not in out  # it does not take this event
    (one,) = machine("why", f"sqlite:{tmp_path}/bank.db", "account-1@1")
    assert (one["asked"], one["depth"], one["cause"], one["actor"]) == (True, 0, None, "me")
    (reaction,) = one["reactions"]
    assert (reaction["function"], reaction["state"], reaction["letter"]) == ("handler.greet", "dead", letter["id"])
    assert reaction["failed"].startswith("20")


def test_a_deep_chain_and_a_function_that_is_gone(tmp_path):
    async def fill():
        store = SqliteStore(tmp_path / "x.db")
        await store.open()
        cause = ""
        for number in range(1, 41):
            meta = Meta(f"c{number}", 0, "corr", cause)
            await store.commit(Batch([Append("ping-1", [Draft("ping", 1, b"{}", encode_meta(meta))])]))
            cause = event_id("", "ping-1", f"c{number}", 0)
        await store.close()

    asyncio.run(fill())
    out, _ = foldlog("why", f"sqlite:{tmp_path}/x.db", "ping-1@40")
    assert "ping-1@40 ping" in out
    assert "(depth 39)" in out
    assert "a function not known here" in out
    assert "40 events hang together" in out
    found = machine("why", f"sqlite:{tmp_path}/x.db", "ping-1@1")
    assert [one["depth"] for one in found] == list(range(40))
    assert [one["cause"] for one in found] == [None, *range(1, 40)]


def test_what_names_no_event(tmp_path):
    app = write_app(tmp_path)
    assert "there is no log" in foldlog("why", app, "account-1@1", code=3)[1]
    foldlog("send", app, "account", "a@b", "account.open", OPEN)
    assert machine("why", app, "account-a@b@1")[0]["stream"] == "account-a@b"
    assert "ends at version 1" in foldlog("why", app, "account-a@b@2", code=3)[1]
    assert "no such stream" in foldlog("why", app, "account-2@1", "--tenant", "acme", code=3)[1]
    for bad in (
        "account-1",
        "account-1@",
        "account-1@0",
        "account-1@x",
        "account-1@99999999999999999999",
        "@1",
        "-x@1",
    ):
        foldlog("why", app, "--", bad, code=3)
