"""A command is decided and its events committed: load, decide, commit; on Conflict load again."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from foldlog import limits
from foldlog.errors import Conflict, Corrupt, Invalid, Rejected, Unavailable, Undecodable
from foldlog.flow.inline import inline_changes
from foldlog.flow.serving import Serving
from foldlog.flow.state import Decision, Loaded, States, misused
from foldlog.flow.view import View
from foldlog.model.clock import Clock, Ids
from foldlog.model.handler import Context
from foldlog.model.message import Draft, Meta, Receipt, Recorded, Send, decode_meta, encode_meta, to_datetime
from foldlog.model.principal import Principal
from foldlog.model.query import Query
from foldlog.model.schema import Schemas
from foldlog.model.stream import ANY, check_tenant, check_text, stream_of
from foldlog.ports.store import Append, Batch, Put, Row, RowChange, RowKey, Store, Table

COMMANDS = Table("commands", expiring=True)


class Origin(msgspec.Struct, frozen=True):
    """Where a command comes from: who asks, for which tenant, and what it follows from.

    `command_id` makes it idempotent within its window; without one it gets an id of its own. `remember` False leaves
    the idempotency to `extra` rows of the caller that guard the same commit.
    """

    tenant: str = ""
    command_id: str = ""
    principal: Principal = Principal()
    correlation: str = ""
    causation: str = ""
    traceparent: str = ""
    headers: dict[str, Any] = {}
    remember: bool = True


class Outcome(msgspec.Struct, frozen=True):
    """What is remembered of a command id: a digest of the command, and what came of it."""

    digest: str
    version: int
    count: int = 0
    rejected: tuple[str, str, Any] | None = None


class Execute:
    """Runs commands against one store. `inline` are the views that are committed together with the events."""

    def __init__(
        self,
        store: Store,
        schemas: Schemas,
        decisions: dict[str, Decision],
        inline: Sequence[View],
        clock: Clock,
        ids: Ids,
        window: float,
        serving: Serving,
    ) -> None:
        self._store, self._schemas, self._decisions, self._inline = store, schemas, decisions, inline
        self._clock, self._ids, self._window = clock, ids, window
        self._states, self._serving = States(store), serving

    async def send(
        self, send: Send, origin: Origin, extra: Sequence[RowChange] = (), more: Sequence[Append] = ()
    ) -> Receipt:
        """Decide one command and commit what follows, with `extra` rows, and `more` for other streams, in the same
        commit. For a command that is refused nothing of it is stored.

        Errors: `Rejected` by the decider; `Invalid` for an unknown decider, command, key or id; `Conflict` after
        `limits.COMMAND_ATTEMPTS` lost races, or when a row of `extra` fails its condition; `Unavailable`.
        """
        decision, stream = self._address(send)
        mark, body, command = self._schemas.encode(send.command)
        check_tenant(origin.tenant)
        command_id = origin.command_id or self._ids()
        memory = None
        if origin.command_id != "":
            check_text("command id", origin.command_id, limits.COMMAND_ID_BYTES)
            if origin.remember:
                digest = blake2b(repr(mark).encode() + body, digest_size=16).hexdigest()
                memory = _Memory(RowKey(origin.tenant, f"{len(stream)}:{stream}:{command_id}"), digest)
        run = _Run(decision, stream, send.key, command, command_id, origin, memory, extra, more)
        for attempt in range(limits.COMMAND_ATTEMPTS):
            try:
                return await self._once(run)
            except (Rejected, Unavailable):
                raise
            except Exception as error:
                # A command that was done before is answered as it was then, even where the code fails on it today.
                if memory and (row := (await self._store.get(COMMANDS, [memory.key])).get(memory.key)):
                    return await self._remembered(run, memory, row)
                if not isinstance(error, Conflict):
                    raise
                conflict = error
                if conflict.row and any(conflict.row == f"{row.table.name}/{row.key.key}" for row in extra):
                    raise
                if attempt == limits.COMMAND_ATTEMPTS - 1:
                    raise
            await asyncio.sleep(random.random() * limits.CONFLICT_JITTER * 2**attempt)
        raise AssertionError("the loop returns or raises")

    async def state(self, decision: Decision, key: str, tenant: str = "") -> tuple[Any, int]:
        """The state of one entity as it is now, and the version of its stream."""
        if decision.decider.scope is not None:
            raise Invalid(f"{decision.decider} decides by tags: its state belongs to a command, not to a key")
        stream = stream_of(decision.decider.category, check_text("stream key", key, limits.KEY_BYTES))
        loaded = await self._states.load(decision, stream, check_tenant(tenant), refresh=True)
        return loaded.state, loaded.version

    async def finish(self) -> None:
        """What goes on behind the commands comes to its end; for a closing app."""
        await self._states.finish()

    def _address(self, send: Send) -> tuple[Decision, str]:
        decision = self._decisions.get(send.decider)
        if decision is None:
            raise Invalid(f"unknown decider {send.decider!r}; known: {', '.join(sorted(self._decisions)) or 'none'}")
        if not isinstance(send.key, str):
            raise Invalid(f"the key of {send.decider!r} is a text, not {type(send.key).__name__}")
        if type(send.command) not in decision.commands:
            known = ", ".join(sorted(one.__name__ for one in decision.commands))
            again = ""
            if any(one.__name__ == type(send.command).__name__ for one in decision.commands):
                again = ": it is another class of that name; was its module imported twice, or its cell run again?"
            raise Invalid(f"decider {send.decider!r} takes {known}, not {type(send.command).__name__}{again}")
        return decision, stream_of(send.decider, send.key)

    async def _once(self, run: "_Run") -> Receipt:
        loaded = await self._load(run)
        refusal: Rejected | None = None
        events: Sequence[Any] = ()
        while True:
            try:
                refusal, events = None, self._decide(run, loaded.state)
            except Rejected as rejected:
                refusal = rejected
            if events or loaded.fresh:
                break
            # A refusal or an empty answer must not rest on a cached state that another writer has overtaken.
            loaded = await self._states.load(run.decision, run.stream, run.origin.tenant, refresh=True)
        if refusal is not None:
            await self._remember(run, loaded.version, (refusal.code, refusal.message, refusal.data))
            raise refusal
        if not events:
            await self._remember(run, loaded.version, None)
            version = loaded.version if loaded.condition is None else await self._version(run)
            return Receipt(run.stream, version, None, (), run.origin.tenant, run.command_id)
        return await self._commit(run, loaded, events)

    def _decide(self, run: "_Run", state: Any) -> Sequence[Any]:
        origin, asked = run.origin, [run.command, state]
        if run.decision.wants_context:
            now = to_datetime(self._clock.now())
            asked.append(Context(now, origin.principal, origin.correlation or run.command_id, origin.tenant))
        try:
            events = run.decision.decider.decide(*asked)
        except Unavailable as error:
            raise misused(f"decide of {run.decision.decider}", error) from error
        if not isinstance(events, list | tuple):
            raise Invalid(f"decide of {run.decision.decider} answers {type(events).__name__}: return a list of events")
        return events

    async def _commit(self, run: "_Run", loaded: Loaded, events: Sequence[Any]) -> Receipt:
        drafts, decoded = self._drafts(run, events)
        # Before the commit: an event that evolve cannot take must never come into the log.
        state = run.decision.after(loaded.state, decoded)
        expected = loaded.version if loaded.condition is None or self._needs_version(run) else ANY
        rows = [*run.extra]
        for view in self._inline:
            await self._serving.register(view)
        if self._inline:
            rows += await inline_changes(
                self._store, self._inline, run.origin.tenant, run.stream, loaded.version, decoded, drafts
            )
        if run.memory:
            rows.append(self._memory_row(run.memory, loaded.version + len(events), None, len(events)))
        append = Append(run.stream, drafts, expected, run.origin.tenant, loaded.condition)
        try:
            done, *_ = await self._store.commit(Batch((append, *run.more), rows))
        except BaseException:
            # Also where evolve has changed the cached state in place, against its contract.
            self._states.forget(run.origin.tenant, run.stream)
            raise
        if loaded.condition is None:
            self._states.keep(run.decision, run.origin.tenant, run.stream, state, done.version)
        return Receipt(run.stream, done.version, done.position, tuple(decoded), run.origin.tenant, run.command_id)

    def _drafts(self, run: "_Run", events: Sequence[Any]) -> tuple[list[Draft], list[Any]]:
        origin, command_id, schemas = run.origin, run.command_id, self._schemas
        correlation = origin.correlation or command_id
        drafts: list[Draft] = []
        decoded: list[Any] = []
        for index, event in enumerate(events):
            mark, body, again = schemas.encode(event)
            if mark.kind != "event":
                raise Invalid(f"decide of {run.decision.decider} answers a command, {mark.name!r}: return events")
            tags = schemas.tags(mark, again)
            meta = Meta(
                command_id,
                index,
                correlation,
                origin.causation,
                origin.principal.actor,
                origin.traceparent,
                None,
                tags,
                "",
                origin.headers,
            )
            raw = encode_meta(meta) if drafts else _checked(meta)
            drafts.append(Draft(mark.name, mark.version, body, raw, tags))
            decoded.append(again)
        return drafts, decoded

    async def _load(self, run: "_Run") -> Loaded:
        if not run.decision.decider.scope:
            return await self._states.load(run.decision, run.stream, run.origin.tenant)
        loaded = await self._states.scoped(run.decision, run.command, run.origin.tenant)
        return loaded._replace(version=await self._version(run)) if self._needs_version(run) else loaded

    async def _version(self, run: "_Run") -> int:
        last = await self._store.read(Query(stream=run.stream, tenant=run.origin.tenant), 0, 1, backward=True)
        return last.events[0].version if last.events else 0

    def _needs_version(self, run: "_Run") -> bool:
        return bool(self._inline or run.memory)

    async def _remember(self, run: "_Run", version: int, rejected: tuple[str, str, Any] | None) -> None:
        rows = list(run.extra)
        if run.memory:
            rows.append(self._memory_row(run.memory, version, rejected, 0))
        elif rejected is not None:
            return
        if rows or run.more:
            await self._store.commit(Batch(run.more if rejected is None else (), rows))

    def _memory_row(self, memory: "_Memory", version: int, rejected: tuple[str, str, Any] | None, count: int) -> Put:
        try:
            value = msgspec.json.encode(Outcome(memory.digest, version, count, rejected))
        except (TypeError, ValueError, RecursionError) as error:
            raise Invalid(f"the data of a Rejected must be JSON-able: {error}") from error
        expires = self._clock.now() + int(self._window * 1e6)
        return Put(COMMANDS, memory.key, value, if_version=0, expires=expires)

    async def _remembered(self, run: "_Run", memory: "_Memory", row: Row) -> Receipt:
        outcome = msgspec.json.decode(row.value, type=Outcome)
        if outcome.digest != memory.digest:
            raise Invalid(f"command id {run.command_id!r} was used before, for another command to {run.stream}")
        if outcome.rejected is not None:
            raise Rejected(*outcome.rejected)
        found: list[Recorded[Any]] = []
        if outcome.count:
            query = Query(stream=run.stream, tenant=run.origin.tenant)
            after = outcome.version - outcome.count
            while len(found) < outcome.count:
                page = await self._store.read(query, after + len(found), outcome.count - len(found))
                if not page.events:
                    raise Corrupt(f"{run.stream}: events of command id {run.command_id!r} are gone from the log")
                found += page.events
        return Receipt(
            run.stream,
            outcome.version,
            found[-1].position if found else None,
            tuple(_decodable(found)),
            run.origin.tenant,
            run.command_id,
            repeated=True,
        )


class _Memory(NamedTuple):
    key: RowKey
    digest: str


class _Run(NamedTuple):
    decision: Decision
    stream: str
    key: str
    command: Any
    command_id: str
    origin: Origin
    memory: _Memory | None
    extra: Sequence[RowChange]
    more: Sequence[Append]


def _checked(meta: Meta) -> bytes:
    """The envelope as JSON, once it is sure that it reads as it was written; the events of a command share it."""
    try:
        raw = encode_meta(meta)
        if decode_meta(raw) == meta:
            return raw
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise Invalid(f"principal, correlation, traceparent or headers cannot be stored: {error}") from error
    raise Invalid("headers that JSON does not give back as they are: NaN, infinities and tuples do not survive")


def _decodable(events: Sequence[Recorded[Any]]) -> Iterator[Any]:
    for event in events:
        with suppress(Undecodable):
            yield event.data
