"""Advisory locks: numbers that all processes on one store agree on. They belong to the database, so that the schema's
name is part of each. Sharing a number with somebody else's lock costs time, never correctness."""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

from foldlog import limits
from foldlog.model.query import Query


class Locks:
    """The numbers of one schema."""

    def __init__(self, schema: str) -> None:
        digest = blake2b(f"foldlog\0{schema}".encode(), digest_size=6).digest()
        self._first = int.from_bytes(digest, "big") << 12
        self.schema = self._first + limits.TAG_LOCKS
        self.tables = self.schema + 1
        self.kinds = self.schema + 2
        self._slot = lru_cache(maxsize=limits.STREAM_CACHE)(self._slot_of)

    def written(self, types: Iterable[str], tags: Iterable[tuple[str, str]]) -> list[int]:
        """What an append locks, shared: its events' types, and their tags as (tenant, tag)."""
        return sorted({*(self._slot(name) for name in types), *(self._slot(f"{one[0]}\0{one[1]}") for one in tags)})

    def guarded(self, query: Query) -> list[int]:
        """What an append on this condition locks against all others: everything that matches is written under one of
        these."""
        found: set[int] = set()
        for side in query.any_of or (query,):
            tags = (*query.tags, *side.tags)
            if tags:  # whatever matches has all of them
                found.add(self._slot(f"{query.tenant or ''}\0{tags[0]}"))
            else:
                found.update(self._slot(name) for name in (*query.types, *side.types))
        return sorted(found)

    def _slot_of(self, name: str) -> int:
        digest = blake2b(name.encode(), digest_size=8).digest()
        return self._first + int.from_bytes(digest, "big") % limits.TAG_LOCKS
