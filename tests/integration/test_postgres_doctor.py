"""What `foldlog doctor` finds in a PostgreSQL store, sound and with each fault planted."""

import asyncio

import psycopg
import pytest

from foldlog import connect
from foldlog.engines.postgres import PostgresStore
from foldlog.engines.postgres.address import parse
from foldlog.engines.postgres.checkup import _consistent
from foldlog.engines.postgres.session import connect as connect_to
from foldlog.engines.postgres.session import fetch
from foldlog.model.finding import FAIL, OK, WARN
from foldlog.model.message import Draft
from foldlog.ports.store import Append, Batch, Put, RowKey, Table


@pytest.fixture(scope="module")
def postgres(durable_postgres):
    """`doctor` looks at the server's settings."""
    return durable_postgres


@pytest.fixture
def url(postgres_url):
    async def write():
        store = PostgresStore(postgres_url())
        await store.open()
        drafts = [Draft("seen", 1, b"{}", tags=("a:1",)), Draft("seen", 1, b"{}")]
        await store.commit(Batch([Append("cart-1", drafts)], [Put(Table("view.x.1"), RowKey("", "a"), b"")]))
        await store.close()

    asyncio.run(write())
    return postgres_url()


def look(url, *, deep=False):
    examined = asyncio.run(connect.examine(url, deep=deep))
    return {one.check: one for one in examined.findings}, examined


def test_a_deep_look_leaves_the_session_as_it_was(url):
    """Behind a proxy others have it next."""

    async def story():
        names = ["statement_timeout", "enable_seqscan"]
        async with await connect_to(parse(url)) as conn:
            before = [await fetch(conn, f"SHOW {name}") for name in names]
            assert {found.state async for found in _consistent(conn, parse(url).schema)} == {OK}
            assert [await fetch(conn, f"SHOW {name}") for name in names] == before

    asyncio.run(story())


def plant(url, *statements):
    address = parse(url)
    with psycopg.connect(address.conninfo, autocommit=True) as conn:
        conn.execute(f"SET search_path = {address.schema}")
        for statement in statements:
            conn.execute(statement)


@pytest.mark.parametrize("deep", [False, True])
def test_a_sound_store(url, deep):
    found, examined = look(url, deep=deep)
    # A superuser may do anything; checksums are the default from PostgreSQL 18 on.
    assert {name for name, one in found.items() if one.state != OK} - {"checksums"} == {"role"}
    assert found["safe head"].what == "2; the last event is at 2"
    assert found["positions"].what.startswith("2 events at positions 1 to 2, 0 empty positions")
    assert (examined.kinds, examined.tables) == ([("cart", "seen", 1)], ["view.x.1"])
    assert ("heads" in found) == deep


@pytest.mark.parametrize(
    ("check", "statements"),
    [
        ("versions", ["INSERT INTO events VALUES (9, 1, 7, 1, 1, '', '', '')"]),
        ("heads", ["UPDATE streams SET version = 7"]),
        ("names", ["DELETE FROM kinds"]),
        ("names", ["DELETE FROM streams"]),
        ("tags", ["INSERT INTO tags VALUES ('', 'a:1', 99)"]),
    ],
)
def test_a_deep_look_finds_what_does_not_agree(url, check, statements):
    plant(url, *statements)
    assert look(url)[0].get(check) is None
    assert look(url, deep=True)[0][check].state == FAIL


def test_settings_that_lose_what_was_acknowledged(url):
    for setting in ("synchronous_commit=off",):
        found, _ = look(f"{url}&options=-c%20{setting}")
        assert found["settings"].state == FAIL
        assert "may be lost" in found["settings"].what


def test_triggers_that_are_not_in_force(url):
    plant(url, "ALTER TABLE events DISABLE TRIGGER events_stay")
    finding = look(url)[0]["triggers"]
    assert finding.state == FAIL
    assert "events_stay" in finding.what
    plant(url, finding.next.replace(f"{parse(url).schema}.", ""))
    assert look(url)[0]["triggers"].state == OK


def test_a_transaction_that_holds_the_head(url, monkeypatch):
    plant(
        url,
        "BEGIN",
        "INSERT INTO events SELECT nextval('positions'), 1, 3, 1, 1, '', '', ''",
        f"PREPARE TRANSACTION '{parse(url).schema}'",
    )
    plant(url, "INSERT INTO events SELECT nextval('positions'), 1, 4, 1, 1, '', '', ''")
    finding = look(url)[0]["safe head"]
    assert finding.state == WARN
    assert "prepared transaction" in finding.what
    assert "(safe head 2, last event 4)" in finding.what
    plant(url, f"ROLLBACK PREPARED '{parse(url).schema}'")
    assert look(url)[0]["safe head"].state == OK
