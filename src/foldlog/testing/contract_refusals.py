"""What must not be taken: each with its error, and nothing stored of the batch it stood in."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from foldlog import limits
from foldlog.errors import FoldlogError, Invalid, TooLarge
from foldlog.model.message import Draft
from foldlog.model.query import Query
from foldlog.ports.store import Append, Batch, Check, Condition, Delete, Put, RowChange, Store, Table
from foldlog.testing.contract_words import EXPIRING, INDEXED, PLAIN, append, draft, key, put, refuses, sized, write

_BAD_KEYS: list[Any] = ["", "x\n", "\x00", "x\u2028", "\ud800", "\x7f", None, 7, b"x"]
_BAD_TENANTS: list[Any] = ["A", "-a", "a b", "ä", "x" * (limits.TENANT_CHARS + 1), None, 7]
_BAD_NAMES: list[Any] = ["", "1x", "x y", "x\n", "ä", "x'", "x" * (limits.NAME_CHARS + 1), None]
_BAD_STREAMS: list[Any] = [
    *("", "cart", "-1", "cart-", "Cart-1", "1cart-1", "cart 1-1", "c'--1", "x" * (limits.CATEGORY_CHARS + 1) + "-1"),
    *("cart-1\n", "cart-\x00", "cart-\ud800", "cart-" + "x" * (limits.KEY_BYTES + 1), "cart-" + "é" * 129, None, 7),
]


async def _refuse_append(store: Store, error: type[FoldlogError], *bad: Append) -> None:
    """Alone, and beside something good."""
    for one in bad:
        await refuses(error, store, Batch([one]))
        await refuses(error, store, Batch([one], [put("good")]))


async def _refuse_rows(store: Store, error: type[FoldlogError], *bad: RowChange) -> None:
    for one in bad:
        await refuses(error, store, Batch(rows=[one]))
        await refuses(error, store, Batch([append("cart-1")], [put("good"), one]))


def _with(what: Draft, **changed: Any) -> Append:
    return append("cart-1", [draft(), msgspec.structs.replace(what, **changed)])


async def an_empty_batch_is_refused(store: Store) -> None:
    await refuses(Invalid, store, Batch())


async def an_append_without_events_is_refused(store: Store) -> None:
    await _refuse_append(store, Invalid, Append("cart-1", []))


async def bad_streams_and_tenants_are_refused(store: Store) -> None:
    await write(store, "cart-1")
    await _refuse_append(store, Invalid, *(append(stream) for stream in _BAD_STREAMS))
    await _refuse_append(store, Invalid, *(append("cart-1", tenant=tenant) for tenant in _BAD_TENANTS))


async def bad_versions_are_refused(store: Store) -> None:
    bad: list[Any] = [-3, 2**63, 1.0, "1", True, None]
    await _refuse_append(store, Invalid, *(append("cart-1", expected=expected) for expected in bad))


async def bad_drafts_are_refused(store: Store) -> None:
    whole = draft()
    await _refuse_append(store, Invalid, *(_with(whole, type=name) for name in _BAD_NAMES))
    await _refuse_append(store, Invalid, *(_with(whole, schema=schema) for schema in (0, -1, 2**63, 1.5, "1")))
    await _refuse_append(store, Invalid, *(_with(whole, encoding=name) for name in ("", "x\n", "x" * 65)))
    await _refuse_append(store, Invalid, _with(whole, body="text"), _with(whole, meta="{}"), _with(whole, body=None))


async def bad_tags_are_refused(store: Store) -> None:
    bad = ["", "plain", "a:\n", "a:\ud800", "a:" + "x" * limits.TAG_BYTES]
    await _refuse_append(store, Invalid, *(_with(draft(), tags=(tag,)) for tag in bad))
    many = tuple(f"a:{number}" for number in range(limits.TAGS + 1))
    await _refuse_append(store, TooLarge, _with(draft(), tags=many))


async def bad_conditions_are_refused(store: Store) -> None:
    good = Query(types=("seen",))
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    queries = [
        *(Query(), Query(tenant="a"), Query(stream="cart-1"), Query(category="cart"), replace(good, category="cart")),
        *(replace(good, since=moment), replace(good, until=moment), replace(good, stream="cart-1")),
    ]
    after: list[Any] = [-1, 2**63, None, 1.5]
    conditions = [*(Condition(query, 0) for query in queries), *(Condition(good, one) for one in after)]
    await _refuse_append(store, Invalid, *(append("cart-9", condition=condition) for condition in conditions))


async def too_large_events_are_refused(store: Store) -> None:
    body, meta = b"x" * (limits.EVENT_BYTES + 1), b'"' + b"x" * limits.META_BYTES
    await _refuse_append(store, TooLarge, _with(draft(), body=body), _with(draft(), meta=meta))


async def too_large_batches_are_refused(store: Store) -> None:
    await refuses(TooLarge, store, Batch([append("cart-1", [draft()] * (limits.BATCH_EVENTS + 1))]))
    large = draft(body=b"x" * limits.EVENT_BYTES)
    await refuses(TooLarge, store, Batch([append("cart-1", [large] * (limits.BATCH_BYTES // limits.EVENT_BYTES + 1))]))
    streams = min(store.capabilities.batch_streams, limits.BATCH_STREAMS) + 1
    await refuses(TooLarge, store, Batch([append(f"cart-{number}") for number in range(streams)]))
    await refuses(TooLarge, store, Batch(rows=[put(f"r{number}") for number in range(limits.BATCH_ROWS + 1)]))


async def a_stream_stands_in_a_batch_once(store: Store) -> None:
    if store.capabilities.batch_streams > 1:
        await refuses(Invalid, store, Batch([append("cart-1"), append("cart-2"), append("cart-1")][:3]))
        await store.commit(Batch([append("cart-1"), append("cart-1", tenant="a")]))


async def a_row_stands_in_a_batch_once(store: Store) -> None:
    await refuses(Invalid, store, Batch(rows=[put("one"), put("two"), put("one")]))
    await refuses(Invalid, store, Batch([append("cart-1")], [put("one"), Delete(PLAIN, key("one"))]))
    await refuses(Invalid, store, Batch(rows=[Check(PLAIN, key("one"), 0), put("one")]))
    await store.commit(Batch(rows=[put("one"), put("one", tenant="a"), put("one", table=EXPIRING)]))


async def bad_names_of_rows_are_refused(store: Store) -> None:
    for name in _BAD_KEYS:
        await _refuse_rows(store, Invalid, put(name), Delete(PLAIN, key(name)), Check(PLAIN, key(name), 0))
    await _refuse_rows(store, Invalid, *(put("one", tenant=tenant) for tenant in _BAD_TENANTS))
    await _refuse_rows(store, Invalid, *(put("one", table=Table(name)) for name in _BAD_NAMES))
    named = Table("named", ("bad name",)), Table("named", ("a", "a"))
    await _refuse_rows(store, Invalid, *(put("one", table=table, index=(1,) * len(table.indexes)) for table in named))


async def bad_names_of_rows_to_get_are_refused(store: Store) -> None:
    await store.commit(Batch(rows=[put("one")]))
    bad = [*(key(name) for name in _BAD_KEYS), *(key("one", tenant) for tenant in _BAD_TENANTS)]
    for one in bad:
        for keys in ([one], [key("one"), one]):
            with pytest.raises(Invalid):
                await store.get(PLAIN, keys)


async def bad_versions_of_rows_are_refused(store: Store) -> None:
    bad: list[Any] = [-1, 2**63, 1.0, "1", True]
    for wanted in bad:
        changes = put("one", b"", wanted), Delete(PLAIN, key("one"), wanted), Check(PLAIN, key("one"), wanted)
        await _refuse_rows(store, Invalid, *changes)


async def bad_puts_are_refused(store: Store) -> None:
    text: Any = "text"
    await _refuse_rows(store, Invalid, put("one", text), *(put("one", position=bad) for bad in (-1, 2**63, 1.5, None)))
    await _refuse_rows(store, Invalid, put("one", expires=1))
    await _refuse_rows(store, Invalid, *(put("one", table=EXPIRING, expires=bad) for bad in (-1, 2**63, 1.5)))
    await _refuse_rows(store, TooLarge, put("one", b"x" * (limits.ROW_BYTES + 1)))


async def bad_index_values_are_refused(store: Store) -> None:
    short: list[Any] = [(), (1,), (1, 2, 3)]
    await _refuse_rows(store, Invalid, *(Put(INDEXED, key("one"), b"", index=index) for index in short))
    await _refuse_rows(store, Invalid, put("one", index=(1,)))
    bad: list[Any] = [float("nan"), float("inf"), -float("inf"), 2**63, -(2**63) - 1, True, b"x", [1], "\ud800"]
    await _refuse_rows(store, Invalid, *(sized("one", value) for value in bad))
    await _refuse_rows(store, Invalid, *(sized("one", 1, value) for value in bad))
    await _refuse_rows(store, TooLarge, sized("one", "x" * 1_025))
    await store.commit(Batch(rows=[sized("one", "x" * 1_024)]))
