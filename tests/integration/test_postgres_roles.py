"""The store as other roles and by other ways see it: a worker that may not change events, an app behind a proxy."""

import asyncio

import psycopg
import pytest

from foldlog.engines.postgres import PostgresStore, schema
from foldlog.engines.postgres.address import parse
from foldlog.errors import Misconfigured
from foldlog.ports.store import Batch
from foldlog.testing import (
    contract_commit,
    contract_follow,
    contract_life,
    contract_races,
    contract_read,
    contract_rows,
    contract_tags,
)
from foldlog.testing.contract_words import PLAIN, put, write
from tests.docs.page import ROOT, blocks

GRANTS = next(one.text for one in blocks(ROOT / "docs/how-to/postgresql.md") if one.title == "grants.sql")
CASES = [
    contract_commit.a_number_wants_exactly_that_version,
    contract_commit.one_conflict_of_many_streams_stores_nothing,
    contract_commit.a_row_conflict_leaves_events_alone,
    contract_commit.a_check_guards_an_append,
    contract_races.losers_do_not_touch_their_neighbours,
    contract_races.of_writers_with_one_tag_condition_exactly_one_wins,
    contract_read.pages_of_every_size_come_to_the_same,
    contract_tags.either_side_matches_by_tags,
    contract_follow.a_reader_that_waits_misses_nothing,
    contract_follow.waiting_for_any_commit_ends_with_rows_too,
    contract_rows.many_rows_fit_into_one_batch,
    contract_rows.an_expired_row_counts_as_absent_in_conditions,
]


def ask(url, *statements, user="postgres"):
    conninfo = parse(url).conninfo.replace("postgres@", f"{user}@")
    with psycopg.connect(conninfo, autocommit=True) as conn:
        cursor = None
        for statement in statements:
            cursor = conn.execute(statement.replace("{s}", parse(url).schema))
        return cursor.fetchall() if cursor is not None and cursor.description else []


def told(url, case=None):
    """Open the store, run a case on it, close it."""

    async def run():
        store = PostgresStore(url)
        await store.open()
        try:
            if case is not None:
                await case(store)
        finally:
            await store.close()

    asyncio.run(run())


@pytest.fixture
def worker(postgres, postgres_url):
    """The URL of a role with the rights of the how-to page, in a schema that another role owns."""
    url = postgres_url()
    name = parse(url).schema
    owner, worker = f"{name}_owner", f"{name}_worker"
    ask(url, f"CREATE ROLE {owner} LOGIN", f"CREATE ROLE {worker} LOGIN", f"CREATE SCHEMA {name} AUTHORIZATION {owner}")
    told(postgres.url(name, owner))
    ask(url, GRANTS.replace("shop_worker", worker).replace("shop", name), user=owner)
    return postgres.url(name, worker)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_worker_can_do_all_of_it(worker, case):
    told(worker, case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_behind_a_proxy_that_keeps_nothing_of_a_session(postgres_url, case):
    told(f"{postgres_url()}&proxy=transaction", case)


def test_a_store_is_closed_and_opened_again_behind_a_proxy(postgres_url):
    url = f"{postgres_url()}&proxy=transaction"
    asyncio.run(contract_life.everything_is_there_after_reopening(lambda: PostgresStore(url)))


@pytest.mark.parametrize("table", ["events", "tags"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET tenant = 'x'", "TRUNCATE {}"])
def test_what_is_stored_is_refused_to_change(worker, postgres, table, change):
    name = parse(worker).schema
    told(worker, contract_tags.a_tag_said_twice_counts_once)
    sql = change.replace("{}", "{s}." + table)
    role = f"{name}_worker"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(postgres.url(name), sql, user=role)
    with pytest.raises(psycopg.Error, match="never changed"):
        ask(postgres.url(name), sql)
    assert ask(postgres.url(name), f"TABLE {name}.{table}")


def test_a_role_without_rights_is_told_so_when_it_opens(postgres, worker):
    name = parse(worker).schema
    ask(postgres.url(name), f"CREATE ROLE {name}_nobody LOGIN", "REVOKE CREATE ON DATABASE postgres FROM PUBLIC")
    for schema_name in (name, f"{name}_new"):
        with pytest.raises(Misconfigured, match="permission denied"):
            told(postgres.url(schema_name, f"{name}_nobody"))


def test_a_newer_schema_is_refused_and_those_that_are_open_go_on(postgres_url):
    async def run():
        url = postgres_url()
        old = PostgresStore(url)
        await old.open()
        ask(url, "UPDATE {s}.log SET schema = schema + 1")
        with pytest.raises(Misconfigured, match="upgrade foldlog"):
            await PostgresStore(url).open()
        await write(old, "cart-1")
        await old.close()

    asyncio.run(run())


def test_a_migration_goes_on_beside_workers_that_are_open(postgres_url, monkeypatch):
    async def run():
        url = postgres_url()
        old = PostgresStore(url)
        await old.open()
        await write(old, "cart-1")
        monkeypatch.setattr(schema, "SCHEMA", 2)
        steps = vars(schema)["_TEXTS"]
        monkeypatch.setattr(schema, "_TEXTS", (*steps, "ALTER TABLE {s}.log ADD COLUMN more text"))
        stores = [PostgresStore(url) for _ in range(4)]
        await asyncio.gather(*(store.open() for store in stores), *(write(old, "cart-1") for _ in range(8)))
        await write(stores[0], "cart-1")
        assert (await write(old, "cart-1")).version == 11
        assert len({store.identity for store in (old, *stores)}) == 1
        for store in (old, *stores):
            await store.close()
        assert ask(url, "SELECT schema, more FROM {s}.log") == [(2, None)]

    asyncio.run(run())


def test_many_open_a_new_store_at_once(postgres_url):
    async def run():
        stores = [PostgresStore(postgres_url()) for _ in range(8)]
        await asyncio.gather(*(store.open() for store in stores))
        assert len({store.identity for store in stores}) == 1
        await asyncio.gather(*(store.commit(Batch(rows=[put(str(n))])) for n, store in enumerate(stores)))
        assert len(await stores[0].get(PLAIN, [put(str(n)).key for n in range(8)])) == 8
        for store in stores:
            await store.close()

    asyncio.run(run())


def test_a_database_that_is_none_or_wrong(postgres, postgres_url):
    ask(postgres_url(), "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(Misconfigured, match="UTF8"):
        told(postgres.url("x").replace("/postgres?", "/latin?"))
    with pytest.raises(Misconfigured, match="nowhere"):
        told(postgres.url("x").replace("/postgres?", "/nowhere?"))


@pytest.mark.parametrize("name", ["order", "user", "left"])
def test_a_schema_named_by_a_word_of_sql_is_refused(postgres, name):
    with pytest.raises(Misconfigured, match="a word of SQL"):
        told(postgres.url(name))
