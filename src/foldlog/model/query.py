"""What to read: one value for every read of the log and for tag conditions."""

from collections.abc import Iterable, Sized
from dataclasses import dataclass, replace
from datetime import datetime

from foldlog import limits
from foldlog.errors import Invalid
from foldlog.model.stream import check_category, check_name, check_tenant, check_text, split_stream


@dataclass(frozen=True, slots=True)
class Query:
    """Events that match everything that is said.

    `stream` one stream (read in order of its versions), or `category` all streams of one; `types` stored names, any of
    them; `tags` all of them; `tenant` None means all tenants, except for a stream or a tag, which always belong to
    one; `since` and `until` bound the time of recording, both ends included. `a | b` matches what either matches
    (types and tags only). Nothing said means the whole log. Errors: `Invalid` for names outside the grammar, and for
    more types, tags or alternatives than `limits.QUERY_TYPES`, `limits.TAGS` and `limits.QUERY_SIDES`.
    """

    stream: str | None = None
    category: str | None = None
    types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    tenant: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    any_of: tuple["Query", ...] = ()

    def __post_init__(self) -> None:
        if self.stream is not None:
            split_stream(self.stream if isinstance(self.stream, str) else repr(self.stream))
        if self.category is not None:
            check_category(self.category)
        object.__setattr__(self, "types", _names("types", self.types))
        object.__setattr__(self, "tags", _names("tags", self.tags))
        _check_count("types", self.types, limits.QUERY_TYPES)
        _check_count("tags", self.tags, limits.TAGS)
        _check_count("alternatives", self.any_of, limits.QUERY_SIDES)
        for name in self.types:
            check_name(name)
        for tag in self.tags:
            check_tag(tag)
        for side in self.any_of:
            _check_side(side)
        if self.tenant is None and (self.stream is not None or self.tags or self.any_of):
            object.__setattr__(self, "tenant", "")
        if self.tenant is not None:
            check_tenant(self.tenant)
        for moment in (self.since, self.until):
            if moment is not None and moment.tzinfo is None:
                raise Invalid(f"{moment} has no time zone: write one, UTC for instance")

    def __or__(self, other: "Query") -> "Query":
        sides = (*(self.any_of or (self,)), *(other.any_of or (other,)))
        for side in sides:
            if (side.tenant or "") != (sides[0].tenant or ""):
                raise Invalid("queries of different tenants cannot be joined with |")
        return Query(any_of=sides, tenant=sides[0].tenant or "")


def check_tag(tag: str) -> str:
    """A tag is `field:value`."""
    check_text("tag", tag, limits.TAG_BYTES)
    if ":" not in tag:
        raise Invalid(f"bad tag {tag!r}: write field:value")
    return tag


def _check_side(side: Query) -> None:
    if replace(side, types=(), tags=()) != Query(tenant=side.tenant) or not (side.types or side.tags):
        raise Invalid("only queries by types and tags can be joined with |")


def _check_count(what: str, said: Sized, most: int) -> None:
    if len(said) > most:
        raise Invalid(f"{len(said)} {what} in one query, at most {most}: read in parts")


def _names(what: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise Invalid(f"{what} is a tuple of texts, not one text: write ({names!r},)")
    return tuple(dict.fromkeys(names))
