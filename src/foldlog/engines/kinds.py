"""What engines keep of the kinds of events in memory, and what a query means in them."""

from collections.abc import Collection
from typing import NamedTuple

from foldlog.model.message import Kind, KindFactory
from foldlog.model.query import Query

Said = tuple[str, str, int, str]
"""(category, type, schema, encoding)"""


class Kinds:
    """The kinds by id, and ids by what they say. Kinds are never changed or removed, so one can only be missing.

    Ids rise without gaps in the order of commits, so whoever knows the newest one knows all.
    """

    def __init__(self, make: KindFactory = Kind) -> None:
        self._make = make
        self.newest = 0
        self.by_id: dict[int, Kind] = {}
        self.ids: dict[Said, int] = {}

    def add(self, number: int, said: Said) -> None:
        if number > self.newest:
            self.by_id[number] = self._make(*said)
            self.ids[said] = number
            self.newest = number

    def matching(self, types: Collection[str], category: str | None) -> list[int]:
        """The ids of all kinds of these types (none: any) in this category (None: any)."""
        return [
            number
            for said, number in tuple(self.ids.items())
            if (not types or said[1] in types) and (category is None or said[0] == category)
        ]


class Side(NamedTuple):
    """One alternative of a query: any of these kinds (None: all), and all of these tags."""

    kinds: list[int] | None
    tags: tuple[str, ...]


def sides_of(query: Query, kinds: Kinds) -> list[Side]:
    """The alternatives that can match anything at all."""
    sides: list[Side] = []
    for side in query.any_of or (Query(),):
        if query.any_of and side.tenant not in {None, query.tenant}:
            continue
        chosen: set[int] | None = None
        for one in (query, side):
            if one.types or one.category is not None:
                ids = set(kinds.matching(one.types, one.category))
                chosen = ids if chosen is None else chosen & ids
        if chosen is None or chosen:
            found = None if chosen is None else sorted(chosen)
            sides.append(Side(found, tuple(dict.fromkeys((*query.tags, *side.tags)))))
    return sides
