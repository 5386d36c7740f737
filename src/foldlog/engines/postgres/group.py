"""A group of batches on its way into one statement, and its answers on the way back."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from foldlog.engines.kinds import Kinds, Said
from foldlog.engines.postgres import statement
from foldlog.engines.postgres.locks import Locks
from foldlog.engines.postgres.session import Array, blobs, int8s, texts
from foldlog.engines.postgres.statement import Op, Shape
from foldlog.engines.postgres.tables import NOTHING, Stored, shown, sortable
from foldlog.ports.store import Append, Appended, Batch, Check, Condition, Delete, Put, RowChange, Table

_ARRAYS = {"bigint": int8s, "text": texts, "bytea": blobs}


class Done(NamedTuple):
    """What a statement did. `answers`: for each batch its appends, or None where a stream stayed out. `positions`: all
    that were taken, rising."""

    answers: list[list[Appended] | None]
    positions: list[int]


class Fenced(Exception):
    """Another connection has taken this writer's place, or its row has gone: nothing was done."""


class Group:
    """Batches in which no stream and no row stands twice; only a batch alone has conditions.

    `absent` are rows that must not be there and are not to be made: they are claimed by making them, and removed before
    the commit.
    """

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches
        self._appends = [(slot, append) for slot, append in enumerate((a for b in batches for a in b.appends), 1)]
        self.several = any(len(batch.appends) > 1 for batch in batches)
        self._alone = len(self._appends) == 1
        self._single = self._alone and len(self._appends[0][1].drafts) == 1
        self._tags = any(draft.tags for _, append in self._appends for draft in append.drafts)
        self.absent = [one for batch in batches for one in batch.rows if wants_absence(one)]

    @property
    def conditions(self) -> list[Condition]:
        return [append.condition for _, append in self._appends if append.condition is not None]

    def locks(self, locks: Locks) -> list[int]:
        """What its events lock, shared."""
        tags = {(append.tenant, tag) for _, append in self._appends for draft in append.drafts for tag in draft.tags}
        return locks.written({draft.type for _, append in self._appends for draft in append.drafts}, tags)

    def kinds(self) -> set[Said]:
        return {
            (append.stream.partition("-")[0], draft.type, draft.schema, draft.encoding)
            for _, append in self._appends
            for draft in append.drafts
        }

    def tables(self) -> dict[Table, bool]:
        """The tables of all changes, and whether one must be there."""
        found: dict[Table, bool] = {}
        for batch in self.batches:
            for change in batch.rows:
                found[change.table] = found.get(change.table, False) or isinstance(change, Put) or wants_absence(change)
        return found

    def statement(
        self, schema: str, writer: str, seq: int, now: int, kinds: Kinds, stored: dict[Table, Stored], locks: Locks
    ) -> tuple[str, list[Any]]:
        """The statement and its parameters. Tables that are not in `stored` are not there."""
        params: list[Any] = [seq, writer, now]
        if self._appends:
            params += self._append_params(kinds, locks)
        ops: dict[Op, list[tuple[Any, ...]]] = {}
        slot = 0
        for batch in self.batches:
            slot += len(batch.appends)
            mine = slot if batch.appends else 0  # rows go by a stream of their batch: all of these stand, or none
            for change in batch.rows:
                table = stored.get(change.table)
                if table is not None:
                    what, values = _row(change, table)
                    op = Op(what, table.name, table.width, table.expiring)
                    ops.setdefault(op, []).append((mine, *change.key, *values))
        for op in sorted(ops):
            for column, values in zip(statement.inputs(op), zip(*ops[op], strict=True), strict=True):
                params.append(_ARRAYS[column.split()[1]](values))  # type: ignore[operator]  # each takes its own type
        shape = Shape(bool(self._appends), self._alone, self._single, self._tags, self.several, tuple(sorted(ops)))
        return statement.text(shape, schema), params

    def done(self, row: Sequence[Any]) -> Done:
        """What the statement's one row says. Errors: `Fenced`."""
        if not row[4 if self._appends else 0]:
            raise Fenced
        if not self._appends:
            return Done([[] for _ in self.batches], [])
        positions, time, slots, versions = row[:4]
        versions_of = dict(zip(slots or (), versions or (), strict=True))
        answers: list[list[Appended] | None] = []
        place, slot = 0, 0
        for batch in self.batches:
            appended: list[Appended] = []
            for append in batch.appends:
                slot += 1
                version = versions_of.get(slot)
                if version is not None:
                    place += len(append.drafts)
                    appended.append(Appended(version, positions[place - 1], time))
            answers.append(appended if len(appended) == len(batch.appends) else None)
        return Done(answers, positions or [])

    def _append_params(self, kinds: Kinds, locks: Locks) -> list[Any]:
        appends = self._appends
        ids = kinds.ids
        slots: list[int] = []
        kind: list[int] = []
        meta: list[bytes] = []
        body: list[bytes] = []
        tags: list[tuple[str, str, int]] = []
        for slot, append in appends:
            category = append.stream.partition("-")[0]
            for draft in append.drafts:
                slots.append(slot)
                kind.append(ids[category, draft.type, draft.schema, draft.encoding])
                meta.append(draft.meta)
                body.append(draft.body)
                if draft.tags:
                    tags += [(append.tenant, tag, len(slots)) for tag in dict.fromkeys(draft.tags)]
        params: list[Any] = [int8s(self.locks(locks))]
        if self._alone:
            one = appends[0][1]
            params += [one.tenant, one.stream, one.expected, len(one.drafts), 0]
        else:
            params += _asked(append for _, append in appends)
        if self.several:
            params.append(int8s([place for place, batch in enumerate(self.batches) for _ in batch.appends]))
        if self._single:
            params += [1, kind[0], meta[0], body[0]]
        else:
            params += [int8s(slots), int8s(kind), blobs(meta), blobs(body)]
        if tags:
            params += [texts([t[0] for t in tags]), texts([t[1] for t in tags]), int8s([t[2] for t in tags])]
        return params


def wants_absence(change: RowChange) -> bool:
    """Whether a change only asks that a row is not there."""
    return isinstance(change, Check | Delete) and change.if_version == 0


def _asked(appends: Iterable[Append]) -> list[Array]:
    skip = 0
    found: list[tuple[str, str, int, int, int]] = []
    for one in appends:
        found.append((one.tenant, one.stream, one.expected, len(one.drafts), skip))
        skip += len(one.drafts)
    tenant, name, expected, counts, skips = zip(*found, strict=True)
    return [texts(tenant), texts(name), int8s(expected), int8s(counts), int8s(skips)]


def _row(change: RowChange, stored: Stored) -> tuple[str, tuple[Any, ...]]:
    """What is to be done with a row, and the values behind its key."""
    wanted = change.if_version
    if isinstance(change, Put):
        values: tuple[Any, ...] = (change.value, change.position, change.expires)
        if stored.width:
            values += (shown(change.index), *map(sortable, change.index))
        if wanted is None:
            return statement.PUT, values
        return (statement.INSERT, values) if wanted == 0 else (statement.REPLACE, (*values, wanted))
    if wanted == 0:
        nothing = (shown([]), *[NOTHING] * stored.width) if stored.width else ()
        return statement.INSERT, (b"", 0, None, *nothing)
    if isinstance(change, Delete):
        return (statement.DELETE, ()) if wanted is None else (statement.REMOVE, (wanted,))
    return statement.CHECK, (wanted,)
