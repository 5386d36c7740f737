"""What every engine refuses before it looks at anything stored, and the small rules that all engines share."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from foldlog import limits
from foldlog.errors import Conflict, Invalid, TooLarge
from foldlog.model.query import Query, check_tag
from foldlog.model.stream import (
    ANY,
    EXISTS,
    check_limit,
    check_name,
    check_part,
    check_tenant,
    check_text,
    check_version,
    split_stream,
)
from foldlog.ports.store import (
    Append,
    Batch,
    Check,
    Condition,
    Delete,
    IndexValue,
    Put,
    Range,
    Row,
    RowChange,
    RowKey,
    Table,
)

_INT64 = 2**63


def check_batch(batch: Batch) -> int:
    """Everything about a batch that can be known without the store; the bytes of its events and rows.

    Errors: `Invalid` for what the port forbids and for names outside the grammar; `TooLarge` for a limit of limits.py.
    """
    appends, rows = batch.appends, batch.rows
    if not appends and not rows:
        raise Invalid("an empty batch: append events or change rows")
    if len(appends) > limits.BATCH_STREAMS:
        raise TooLarge(f"{len(appends)} streams in one commit, at most {limits.BATCH_STREAMS}: commit them in parts")
    if len(rows) > limits.BATCH_ROWS:
        raise TooLarge(f"{len(rows)} row changes in one commit, at most {limits.BATCH_ROWS}: commit them in parts")
    events = sum([len(append.drafts) for append in appends])
    if events > limits.BATCH_EVENTS:
        raise TooLarge(f"{events} events in one commit, at most {limits.BATCH_EVENTS}: commit them in parts")
    size = sum([_check_append(append) for append in appends])
    if len(appends) > 1 and len({(append.tenant, append.stream) for append in appends}) < len(appends):
        raise Invalid("a stream stands twice in one batch: write one append with all its events")
    for change in rows:
        size += _check_row(change)
    if size > limits.BATCH_BYTES:
        raise TooLarge(f"{size} bytes in one commit, at most {limits.BATCH_BYTES}: commit them in parts")
    if len(rows) > 1 and len({(change.table.name, change.key) for change in rows}) < len(rows):
        raise Invalid("a row stands twice in one batch: write one change with what comes of both")
    return size


def check_read(after: int, limit: int) -> None:
    """Where a page begins and how long it is. Errors: `Invalid`."""
    _check_whole("place to read on behind", after, 0)
    check_limit(limit, limits.PAGE_MAX)


def check_keys(table: Table, keys: Sequence[RowKey]) -> None:
    """Rows to get. Errors: `Invalid`."""
    _check_table(table)
    for tenant, key in keys:
        _check_tenant(tenant)
        check_text("row key", key, limits.INDEXED_BYTES)


def check_range(table: Table, range: Range) -> None:
    """A range fits its table. Errors: `Invalid`."""
    _check_table(table)
    _check_tenant(range.tenant)
    check_limit(range.limit, limits.FIND_MAX)
    if range.index is not None and range.index not in table.indexes:
        raise Invalid(f"table {table.name} has no index {range.index!r}; it has: {', '.join(table.indexes) or 'none'}")
    for bound in (range.low, range.high):
        check_index_value(bound)
        if range.index is None and bound is not None and not isinstance(bound, str):
            raise Invalid(f"bad bound {bound!r}: keys are texts")
        if range.index is None and bound:
            check_text("bound", str(bound), limits.INDEXED_BYTES)
    if range.after is not None:
        _check_after(table, range.after, range.index)


def check_index_value(value: object) -> None:
    """None, a finite number (whole ones of 64 bits) or a text. Errors: `Invalid`, `TooLarge`."""
    if isinstance(value, str):
        _check_indexed_text(value)
    elif isinstance(value, bool) or not isinstance(value, int | float | None):
        raise Invalid(f"an index holds texts, numbers and None, not {type(value).__name__}")
    elif isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise Invalid(f"index value {value} does not fit 64 bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise Invalid(f"index value {value} has no place in an order")


def version_holds(expected: int, actual: int) -> bool:
    """Whether a stream at version `actual` (0: no event) is what an append expected."""
    return expected in {actual, ANY} or (expected == EXISTS and actual > 0)


def row_holds(if_version: int | None, actual: int) -> bool:
    """Whether a row at version `actual` (0: absent) is what a change wanted."""
    return if_version is None or if_version == actual


def order_key(value: IndexValue) -> tuple[int, Any]:
    """Sorts index values of mixed types: None, then numbers, then texts by code point (as their UTF-8 bytes sort)."""
    if value is None:
        return 0, 0
    return (2 if isinstance(value, str) else 1), value


def stream_conflict(append: Append, actual: int) -> Conflict:
    """The stream is at version `actual`, which is not what was expected."""
    return Conflict(append.stream, append.expected, actual)


def row_conflict(change: RowChange, actual: int) -> Conflict:
    """The row is at version `actual` (0: absent), which is not what was wanted."""
    name = f"{change.table.name}/{change.key.key}"
    return Conflict(name, change.if_version, actual, row=name)


def condition_conflict(condition: Condition, found: int) -> Conflict:
    """An event that matches stands at position `found`, behind the condition's."""
    return Conflict(_described(condition.query), condition.after, found)


def _described(query: Query) -> str:
    sides = query.any_of or (query,)
    return " or ".join(f"events of [{' '.join((*side.types, *side.tags))}]" for side in sides)


def _check_append(append: Append) -> int:
    split_stream(append.stream)
    _check_tenant(append.tenant)
    check_version(append.expected)
    if not append.drafts:
        raise Invalid(f"an append to {append.stream} without events: leave it out")
    if append.condition is not None:
        _check_condition(append.condition)
    size = 0
    for draft in append.drafts:
        _check_kind(draft.type, draft.encoding)
        _check_whole("schema version", draft.schema, 1)
        body, meta = draft.body, draft.meta
        if not type(body) is type(meta) is bytes:
            raise Invalid(f"body and meta of {draft.type} are bytes")
        if len(body) > limits.EVENT_BYTES:
            raise TooLarge(f"{draft.type} has {len(body)} bytes, at most {limits.EVENT_BYTES}: keep it in a blob store")
        if len(meta) > limits.META_BYTES:
            raise TooLarge(f"meta of {draft.type} has {len(meta)} bytes, at most {limits.META_BYTES}")
        if draft.tags:
            _check_tags(draft.type, draft.tags)
        size += len(body) + len(meta)
    return size


def _check_tags(type: str, tags: tuple[str, ...]) -> None:
    if len(tags) > limits.TAGS:
        raise TooLarge(f"{type} has {len(tags)} tags, at most {limits.TAGS}")
    for tag in tags:
        _check_tag(tag)


def _check_condition(condition: Condition) -> None:
    query = condition.query
    for side in (query, *query.any_of):
        if any(said is not None for said in (side.stream, side.category, side.since, side.until)):
            raise Invalid("a condition is a query by types and tags only")
    if not (query.types or query.tags or query.any_of):
        raise Invalid("a condition names types or tags")
    _check_whole("position", condition.after, 0)


def _check_row(change: RowChange) -> int:
    table, key, wanted = change.table, change.key, change.if_version
    _check_table(table)
    _check_tenant(key.tenant)
    check_text("row key", key.key, limits.INDEXED_BYTES)
    if wanted is not None or isinstance(change, Check):
        _check_whole("row version", wanted, 0)
    if isinstance(change, Put):
        _check_put(change)
        return len(change.value)
    if not isinstance(change, Check | Delete):
        raise Invalid(f"a row is changed by Put, Delete or Check, not {type(change).__name__}")
    return 0


def _check_after(table: Table, row: Row, index: str | None) -> None:
    check_text("row key", row.key.key, limits.INDEXED_BYTES)
    if index is None:
        return
    if len(row.index) != len(table.indexes):
        raise Invalid(f"the row to read on behind is not one of table {table.name}")
    for value in row.index:
        check_index_value(value)


def _check_put(put: Put) -> None:
    name = put.table.name
    if not isinstance(put.value, bytes):
        raise Invalid(f"the value of {name}/{put.key.key} is bytes")
    if len(put.value) > limits.ROW_BYTES:
        raise TooLarge(f"{name}/{put.key.key} has {len(put.value)} bytes, at most {limits.ROW_BYTES}")
    _check_whole("position", put.position, 0)
    if len(put.index) != len(put.table.indexes):
        raise Invalid(f"{name} has {len(put.table.indexes)} indexes, {name}/{put.key.key} comes with {len(put.index)}")
    for value in put.index:
        check_index_value(value)
    if put.expires is not None:
        if not put.table.expiring:
            raise Invalid(f"rows of {name} do not expire: declare the table with expiring=True")
        _check_whole("time of expiry", put.expires, 0)


def _check_whole(what: str, value: object, least: int) -> None:
    if type(value) is not int or not least <= value < _INT64:
        raise Invalid(f"bad {what} {value!r}: write a whole number from {least}")


def _check_indexed_text(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise Invalid("an indexed text has a lone surrogate") from error
    if size > limits.INDEXED_BYTES:
        raise TooLarge(f"an indexed text of {size} bytes, at most {limits.INDEXED_BYTES}: index a part of it")


# The same few names come with every commit, so that looking them up is all that most checks cost.
_check_tenant = lru_cache(maxsize=limits.STREAM_CACHE)(check_tenant)
_check_tag = lru_cache(maxsize=limits.STREAM_CACHE)(check_tag)


@lru_cache(maxsize=limits.STREAM_CACHE)
def _check_kind(type: str, encoding: str) -> None:
    check_name(type)
    check_text("encoding", encoding, limits.PART_CHARS)


@lru_cache(maxsize=limits.STREAM_CACHE)
def _check_table(table: Table) -> None:
    check_name(table.name)
    for index in table.indexes:
        check_part(index)
    if len(set(table.indexes)) < len(table.indexes):
        raise Invalid(f"an index of {table.name} is named twice")
