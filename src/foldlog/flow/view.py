"""A projection made ready: its table, its row codec, and which events concern it."""

from collections.abc import Sequence
from typing import Any, get_args, get_type_hints

from foldlog import limits
from foldlog.errors import Misconfigured
from foldlog.flow.index import index_value, kind_of
from foldlog.model.codec import Codec
from foldlog.model.event import field_names
from foldlog.model.message import Recorded
from foldlog.model.projection import Projection
from foldlog.model.query import Query
from foldlog.model.schema import Schemas
from foldlog.model.signature import Takes, hints, keyed_by_envelope, taken
from foldlog.model.stream import check_text
from foldlog.ports.store import Delete, Put, Row, RowChange, RowKey, Table

_TOMBSTONE = b""


class View:
    """A projection with its types resolved: its table, its row codec, and which events concern it."""

    def __init__(self, projection: Projection[Any, Any]) -> None:
        what = f"projection {projection.name!r}"
        self.projection = projection
        self.name = projection.table
        self.inline = projection.inline
        self.takes: Takes = taken(projection.fold, 1, what, "event", projection.on)
        self.by_envelope = projection.key is not None and keyed_by_envelope(projection.key, what)
        if self.inline and self.takes.recorded:
            raise Misconfigured(f"{what}: inline rows are made before there is an envelope: take the event alone")
        found = hints(projection.fold, what)
        if "return" not in found:
            raise Misconfigured(f"{what}: annotate what the fold returns; that is the type of its rows")
        _check_indexes(projection, found["return"], what)
        self.index_kinds = {name: _index_kind(found["return"], name) for name in projection.indexes}
        self.codec: Codec[Any] = Codec(found["return"] | None, f"row of {projection.name!r}", limits.ROW_BYTES)
        self.table = Table(self.name, projection.indexes)
        self.query = Query()

    def bind(self, schemas: Schemas) -> None:
        """Learn the stored names of the events that concern it."""
        self.query = Query(types=schemas.names(self.takes.types))

    def concerns(self, event: Recorded[Any]) -> bool:
        """Whether an event is of its types."""
        return not self.query.types or event.kind.type in self.query.types

    def keys(self, event: Recorded[Any], data: Any) -> Sequence[RowKey]:
        """The rows that an event goes into."""
        key = self.projection.key
        if key is None:
            return (RowKey(event.tenant, event.key),)
        found = key(event if self.by_envelope else data)
        several = (found,) if isinstance(found, str) else dict.fromkeys(found or ())
        return [RowKey(event.tenant, check_text("row key", one, limits.KEY_BYTES)) for one in several]

    def decode(self, row: Row | None) -> Any:
        """The row's value; None where there is none."""
        return None if row is None or row.value == _TOMBSTONE else self.codec.decode(row.value)

    def change(self, key: RowKey, value: Any, position: int, if_version: int | None = None) -> RowChange:
        """The change that makes the row hold `value`. Errors: `Invalid` where the value does not fit."""
        if value is None and not self.inline:
            return Delete(self.table, key, if_version)
        indexes = self.table.indexes
        if value is None:
            return Put(self.table, key, _TOMBSTONE, if_version, position, (None,) * len(indexes))
        body, _ = self.codec.encode(value)
        index = tuple([index_value(field_of(value, name)) for name in indexes]) if indexes else ()
        return Put(self.table, key, body, if_version, position, index)


def _check_indexes(projection: Projection[Any, Any], annotation: Any, what: str) -> None:
    for row in get_args(annotation) or (annotation,):
        fields = field_names(row) if isinstance(row, type) else ()
        missing = [name for name in projection.indexes if fields and name not in fields]
        if missing:
            raise Misconfigured(f"{what}: its rows have no field {missing[0]!r} to index")


def _index_kind(annotation: Any, name: str) -> str:
    """What an index of the rows holds, as far as their types say so: see `kind_of`."""
    rows = [row for row in get_args(annotation) or (annotation,) if row is not type(None)]
    try:
        kinds = {kind_of(get_type_hints(row)[name]) for row in rows}
    except (KeyError, NameError, TypeError):  # a dict, or types that are known nowhere else
        return ""
    return kinds.pop() if len(kinds) == 1 else ""


def field_of(value: Any, name: str) -> Any:
    """A row's field that is indexed."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name)
