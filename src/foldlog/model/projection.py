"""The projection: a fold `(row, event) -> row` that keeps a table of rows, a read model."""

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

from foldlog.errors import Invalid, Misconfigured
from foldlog.model.stream import check_part

R = TypeVar("R")
E = TypeVar("E")
Switch = Literal["auto", "manual"]


class Projection(Generic[R, E]):
    """What `@projection` returns. Calling it calls the fold, so that a fold is tested as the function it is."""

    __slots__ = ("fold", "indexes", "inline", "key", "name", "on", "switch", "version")

    def __init__(
        self,
        name: str,
        fold: Callable[[R | None, E], R | None],
        version: int = 1,
        key: Callable[[Any], Any] | None = None,
        on: Any = None,
        indexes: tuple[str, ...] = (),
        inline: bool = False,
        switch: Switch = "auto",
    ) -> None:
        try:
            self.name = check_part(name)
            self.indexes = tuple(check_part(index) for index in indexes)
        except Invalid as error:
            raise Misconfigured(error.message) from error
        if isinstance(indexes, str) or len(set(self.indexes)) != len(self.indexes):
            raise Misconfigured(f"projection {name!r}: indexes is a tuple of different field names")
        if type(version) is not int or version < 1:
            raise Misconfigured(f"projection {name!r}: the version is a whole number from 1")
        if inline and key is not None:
            raise Misconfigured(f"projection {name!r}: inline rows are keyed by their stream; leave key= out")
        if switch not in {"auto", "manual"}:
            raise Misconfigured(f"projection {name!r}: switch is 'auto' or 'manual'")
        self.fold, self.version, self.key, self.on, self.inline = fold, version, key, on, inline
        self.switch = switch

    def __call__(self, row: R | None, event: E) -> R | None:
        return self.fold(row, event)

    @property
    def table(self) -> str:
        """The name of its table of rows: a new version is a new table."""
        return table_name(self.name, self.version)

    def __repr__(self) -> str:
        return f"Projection({self.name!r}, version={self.version})"


def table_name(name: str, version: int) -> str:
    """The table of a projection's version; its function has the same name."""
    return f"view.{name}.{version}"


def projection(
    name: str,
    *,
    version: int = 1,
    key: Callable[[Any], Any] | None = None,
    on: Any = None,
    indexes: tuple[str, ...] = (),
    inline: bool = False,
    switch: Switch = "auto",
) -> Callable[[Callable[[R | None, E], R | None]], Projection[R, E]]:
    """Declare a read model: the fold gets the row (None where there is none) and an event, and returns the row.

    None deletes the row. The row's type is the annotation of the fold's answer. Rows are keyed by the stream's key, or
    by what `key(event)` returns: a text, or a list of texts for several rows (`[]` for none). Annotate the event with
    `Recorded[E]` to see its envelope. `indexes` names fields of the row that `find` may search by. `inline=True`
    commits the row together with the events; such rows are keyed by their stream. A new `version` is a new table, built
    beside the one that is read until then; the reads switch to it once it is built, or, with `switch="manual"`, when
    `foldlog views switch` says so. Folds are pure. Errors: `Misconfigured`.
    """
    if callable(name):
        raise Misconfigured("write @projection('name') above the function: its name is missing")

    def decorate(fold: Callable[[R | None, E], R | None]) -> Projection[R, E]:
        return Projection(name, fold, version, key, on, indexes, inline, switch)

    return decorate
