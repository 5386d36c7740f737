"""States of long streams, saved beside the log so that a load folds only the last events.

A snapshot is never needed: where there is none, or none that can be trusted, the whole stream is folded. It is trusted
only where the same fold over the same schemas made it, from this log, and the event it stands on is still there. A
`Corrupt` of the store goes to the caller, as without snapshots.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime, time
from decimal import Decimal
from functools import cached_property
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from foldlog import limits
from foldlog.errors import FoldlogError, Invalid, Misconfigured, TooLarge, Undecodable
from foldlog.model.codec import Codec
from foldlog.model.decider import Decider
from foldlog.model.event import field_names
from foldlog.model.fingerprint import fingerprint
from foldlog.model.message import Recorded
from foldlog.model.query import Query
from foldlog.model.shape import shape_of
from foldlog.model.signature import hints, parameters
from foldlog.ports.store import Batch, Put, RowKey, Store, Table

SNAPSHOTS = Table("snapshots")
log = logging.getLogger("foldlog.snapshot")


class Snapshot(msgspec.Struct, frozen=True):
    """The row's value. `fold` is the fingerprint of the code that made the state, `log` and `epoch` say from which log,
    `last` is a digest of the stream's event at `version`, `seal` one of all the rest."""

    fold: str
    log: str
    epoch: int
    version: int
    last: str
    state: msgspec.Raw
    seal: str = ""

    def sealed(self, key: RowKey) -> str:
        """What `seal` must be, for the row of that key."""
        told = (*key, self.fold, self.log, self.epoch, self.version, self.last, bytes(self.state))
        return blake2b(repr(told).encode(errors="surrogatepass"), digest_size=16).hexdigest()


_decode = msgspec.json.Decoder(Snapshot).decode


class Rule:
    """When a decider's states are saved and what they are made by. `parts` are the event types and upcasts that its
    fold sees."""

    def __init__(self, decider: Decider[Any, Any, Any], every: int, parts: Iterable[object]) -> None:
        state = state_type(decider)
        self.every, self.codec = every, _codec(decider, state)
        self._what, self._parts = repr(decider), (decider.evolve, decider.initial, *parts)
        self._types = [state, *(one for one in self._parts if isinstance(one, type))]
        self._complained = False

    @cached_property
    def fold(self) -> str:
        """The fingerprint of the fold, "" where there is none. Taken on first use: the module is complete then."""
        try:
            return fingerprint(*self._parts, *map(shape_of, self._types))
        except TooLarge as error:
            self.complain(f"its evolve has no fingerprint: {error.message}")
            return ""

    def encode(self, state: Any) -> bytes:
        """The state as JSON. Errors: `Invalid` where it would not come back the same, to the last type; `TooLarge`."""
        body, again = self.codec.encode(state)
        if _exactly(state) != _exactly(again):
            raise Invalid(f"the {self.codec.what} comes back equal, but of other types, like a dict for a defaultdict")
        return body

    def complain(self, why: object) -> None:
        """Say once that its states are not saved."""
        if not self._complained:
            self._complained = True
            log.warning("states are not saved; loads fold the whole stream", extra={"part": self._what, "why": why})


class Known(NamedTuple):
    """A state and the version of the stream that it stands for."""

    state: Any
    version: int


class _Offer(NamedTuple):
    rule: Rule
    state: Any
    version: int


class Snapshots:
    """The snapshots of one store: found by whoever loads, saved by one task in the background."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: OrderedDict[RowKey, _Offer] = OrderedDict()
        self._saving: asyncio.Task[None] | None = None

    async def find(self, rule: Rule, stream: str, tenant: str) -> Known | None:
        """A state that can be trusted, or None. Errors: those of `Store.get` and `Store.read`."""
        key = RowKey(tenant, stream)
        row = (await self._store.get(SNAPSHOTS, [key])).get(key)
        if row is None or not rule.fold:
            return None
        try:
            found = _decode(row.value)
            why = self._distrusted(rule, key, found)
            if not why and await self._last(stream, tenant, found.version) != found.last:
                why = "the stream is another one"
            if not why:
                return Known(rule.codec.decode(bytes(found.state)), found.version)
        except (msgspec.MsgspecError, UnicodeDecodeError, Undecodable) as error:
            why = f"it cannot be read: {error}"
        log.info("a snapshot is passed over", extra={"stream": stream, "tenant": tenant, "why": why})
        return None

    def offer(self, rule: Rule, stream: str, tenant: str, known: Known) -> bool:
        """Save a state soon; False where too many are waiting. It never waits, and what it starts fails nobody."""
        key = RowKey(tenant, stream)
        if not rule.fold or (key not in self._waiting and len(self._waiting) >= limits.SNAPSHOT_QUEUE):
            return False
        self._waiting[key] = _Offer(rule, *known)
        if self._saving is None or self._saving.done():
            self._saving = asyncio.create_task(self._save_all())
        return True

    async def finish(self) -> None:
        """Save what is waiting, for `limits.SNAPSHOT_STOP` seconds at most, and stop."""
        if self._saving is not None:
            _, late = await asyncio.wait([self._saving], timeout=limits.SNAPSHOT_STOP)
            self._waiting.clear()
            for task in late:
                task.cancel()
                await asyncio.wait([task])

    async def _save_all(self) -> None:
        while self._waiting:
            key, offer = self._waiting.popitem(last=False)
            try:
                await self._save(key, offer)
            except (Invalid, TooLarge) as error:
                offer.rule.complain(error.message)
            except Exception as error:  # also what comparing states of the user's classes may raise
                told = error.message if isinstance(error, FoldlogError) else repr(error)
                log.warning("a snapshot was not saved", extra={"stream": key.key, "error": told})

    async def _save(self, key: RowKey, offer: _Offer) -> None:
        rule, version = offer.rule, offer.version
        body = rule.encode(offer.state)
        last = await self._last(key.key, key.tenant, version)
        if not last:
            raise Invalid(f"{key.key} has no version {version} any more")
        identity = self._store.identity
        made = Snapshot(rule.fold, identity.log, identity.epoch, version, last, msgspec.Raw(body))
        value = msgspec.json.encode(msgspec.structs.replace(made, seal=made.sealed(key)))
        await self._store.commit(Batch(rows=[Put(SNAPSHOTS, key, value, position=version)]))

    def _distrusted(self, rule: Rule, key: RowKey, found: Snapshot) -> str:
        identity = self._store.identity
        if found.seal != found.sealed(key) or not found.last or not 0 < found.version < 2**63:
            return "it is not what was written"
        if (found.log, found.epoch) != (identity.log, identity.epoch):
            return "it belongs to another log"
        return "" if found.fold == rule.fold else "another fold has made it"

    async def _last(self, stream: str, tenant: str, version: int) -> str:
        """A digest of the event at this version, "" where there is none."""
        page = await self._store.read(Query(stream=stream, tenant=tenant), version - 1, 1)
        return _digest(page.events[0]) if page.events and page.events[0].version == version else ""


def state_type(decider: Decider[Any, Any, Any]) -> Any:
    """The type of a decider's states: what `evolve` is annotated to return, else to take.

    Errors: `Misconfigured` where neither says anything.
    """
    what = f"decider {decider.category!r}"
    said = hints(decider.evolve, what)
    name = "return" if "return" in said else parameters(decider.evolve)[0].name
    if name not in said or said[name] in (Any, object):
        raise Misconfigured(f"{what}: snapshot= needs the type of the state: annotate what evolve returns")
    return said[name]


def check_state(decider: Decider[Any, Any, Any]) -> None:
    """A declared snapshot can be saved. Errors: `Misconfigured`, with the cure."""
    if decider.snapshot is not None:
        _codec(decider, state_type(decider))


def _codec(decider: Decider[Any, Any, Any], state: Any) -> Codec[Any]:
    try:
        return Codec(state, f"state of {decider.category!r}", limits.SNAPSHOT_BYTES)
    except Misconfigured as error:
        raise Misconfigured(
            f"{error.message}. With snapshot= a state holds what an event may hold; else leave snapshot= out"
        ) from error


def _digest(event: Recorded[Any]) -> str:
    told = (event.type, event.schema, event.encoding, event.raw_meta, event.body)
    return blake2b(repr(told).encode(), digest_size=16).hexdigest()


def _exactly(value: Any) -> Any:
    """Something that is equal only for values of the same types throughout, in the same order."""
    kind = type(value)
    if isinstance(value, dict):
        return kind, tuple((_exactly(key), _exactly(one)) for key, one in value.items())
    if isinstance(value, list | tuple):
        return kind, tuple(map(_exactly, value))
    if isinstance(value, set | frozenset):
        return kind, frozenset(map(_exactly, value))
    if names := field_names(kind):
        return kind, tuple(_exactly(getattr(value, name)) for name in names)
    if isinstance(value, float | Decimal):
        return kind, str(value)  # 0.0 equals -0.0, 1.0 equals 1.00
    if isinstance(value, datetime | time):
        return kind, value.isoformat(), value.fold, type(value.tzinfo)
    return kind, value
