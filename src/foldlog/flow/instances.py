"""What an operator sees of the instances of processes, and does with them: list, show, cancel.

Retrying and skipping are those of dead letters, by the instance's key. Cancelling is an event in the instance's own
stream: it comes to the process in its turn, like everything else.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from foldlog import limits
from foldlog.errors import Conflict, Invalid, NotFound
from foldlog.flow import deadletter, inbox, timers
from foldlog.flow.inbox import Item
from foldlog.flow.orchestrate import Instance, Orchestration, decode
from foldlog.flow.partition import ALL, partition_of
from foldlog.flow.recall import Recall, Taken
from foldlog.flow.standing import Count
from foldlog.flow.timers import TIMERS, Alarm
from foldlog.model.event import ACCEPTED, CANCELLED, REJECTED
from foldlog.model.message import Draft, Meta, encode_meta
from foldlog.model.process import Cancelled
from foldlog.model.stream import ANY, stream_of
from foldlog.ports.store import Append, Batch, Range, Row, RowKey, Store, Table

NEVER = 2**63 - 1
_LOST = {ACCEPTED.name: "accepted", REJECTED.name: "rejected"}


class Summary(NamedTuple):
    """One process: how many instances it has, how many timers wait, when the next is due (microseconds since 1970,
    `NEVER` for none), and how many dead letters there are."""

    name: str
    instances: Count
    timers: Count
    due: int
    dead: Count


class Listed(NamedTuple):
    """One instance. `dead` are the ids of its dead letters: it waits for an operator; `retries` how many items of it
    wait for another attempt."""

    key: str
    tenant: str
    instance: Instance | None
    dead: tuple[str, ...]
    retries: int


class Shown(NamedTuple):
    """One instance and its history. `open` are its outbox rows and dead letters; `answers` says by command id what
    became of a command; `stored` is the instance as its row has it, `folded` as the log gives it with today's code."""

    history: list[Taken]
    open: list[Item]
    answers: dict[str, str]
    stored: Instance | None
    folded: Instance | None


async def summaries(store: Store, processes: list[Orchestration]) -> list[Summary]:
    """Every process of an app."""
    return [await _summary(store, one) for one in processes]


async def _summary(store: Store, process: Orchestration) -> Summary:
    due = min([await timers.next_due(store, process.name, number) for number in ALL])
    dead = Range(index="dead", low=f"{process.name}/", high=f"{process.name}/~", limit=limits.PAGE)
    return Summary(
        process.process.name,
        await _count(store, process.table, Range(limit=limits.PAGE)),
        await _count(store, TIMERS, Range(low=f"{process.name}/", high=f"{process.name}/~", limit=limits.PAGE)),
        due,
        await _count(store, inbox.INBOX, dead),
    )


async def _count(store: Store, table: Table, span: Range) -> Count:
    """How many rows there are, of at most `limits.BACKLOG`."""
    found, more = 0, True
    while more and found < limits.BACKLOG:
        rows, more = await store.scan(table, span)
        found += len(rows)
        if rows:
            span = Range(index=span.index, low=span.low, high=span.high, after=rows[-1], limit=span.limit)
    return Count(found, more)


async def listed(
    store: Store, process: Orchestration, tenant: str = "", limit: int = limits.FIND, *, stuck: bool = False
) -> list[Listed]:
    """Instances in order of their keys; `stuck` are those alone that wait for an operator, with a row or without."""
    items: dict[str, list[Item]] = {}
    async for item in inbox.items(store, process.name):
        if item.tenant == tenant and item.status in {inbox.DEAD, inbox.READY}:
            items.setdefault(item.key, []).append(item)
    dead = {key for key, some in items.items() if any(one.status == inbox.DEAD for one in some)}
    if stuck:
        keys = sorted(dead)[:limit]
        rows = await store.get(process.table, [RowKey(tenant, key) for key in keys])
        return [_listed(key, tenant, rows.get(RowKey(tenant, key)), items[key]) for key in keys]
    found, _ = await store.scan(process.table, Range(tenant, limit=limit))
    there = {row.key.key: row for row in found}
    keys = sorted({*there, *dead})[:limit]
    return [_listed(key, tenant, there.get(key), items.get(key, [])) for key in keys]


def _listed(key: str, tenant: str, row: Row | None, items: list[Item]) -> Listed:
    dead = tuple(one.row_key.key for one in items if one.status == inbox.DEAD)
    retries = sum(one.status == inbox.READY and one.attempts > 0 for one in items)
    return Listed(key, tenant, decode(row) if row else None, dead, retries)


async def show(
    store: Store, process: Orchestration, key: str, tenant: str, told: Callable[[int], None] = lambda _: None
) -> Shown:
    """The history of one instance, folded from the log, which is read for it once; `told` hears how far it has come.

    Errors: `NotFound` where no event was ever for that key.
    """
    place, recall, history = RowKey(tenant, key), Recall(process, skipping=True), list[Taken]()
    answers: dict[str, str] = {}
    after, head, more = 0, await store.head(), True
    while more and after < head:
        page = await store.read(process.query, after, limits.PAGE_MAX)
        for event in page.events:
            if event.tenant == tenant:
                history += recall.take(event, place)
        more = page.more
        after = page.events[-1].position if page.events else head
        told(min(after, head))
    if not history:
        raise NotFound(f"no event was for {key!r} of {process.process.name}: `foldlog processes APP list` shows keys")
    for taken in history:
        if taken.event.category == process.process.name and taken.event.type in {ACCEPTED.name, REJECTED.name}:
            answers[taken.event.meta.command] = _answer(taken)
    items = [
        item
        async for item in inbox.items(store, process.name, [partition_of(tenant, key)])
        if (item.tenant, item.key) == (tenant, key) and item.status != inbox.DONE
    ]
    row = (await store.get(process.table, [place])).get(place)
    return Shown(history, items, answers, decode(row) if row else None, recall.held.get(place))


def _answer(taken: Taken) -> str:
    if taken.event.type == ACCEPTED.name:
        return "accepted"
    return f"rejected: {msgspec.json.decode(taken.event.body)['code']}"


def alarms(taken: Taken) -> Iterator[Alarm]:
    """The timers that a step has set."""
    return iter(taken.step.alarms if taken.step is not None else ())


async def skip(store: Store, process: Orchestration, key: str, tenant: str = "") -> int:
    """Let the dead letters of one instance go; returns how many.

    Errors: `Invalid` where that is the answer to a command and the process can be cancelled: it says what then to do.
    """
    while dead := await deadletter.of_key(store, process.name, key, tenant):
        lost = _lost_answer(dead)
        if lost and Cancelled in process.evolves.types:
            name = process.process.name
            raise Invalid(
                f"{name} {key!r} cannot take {lost}, the answer to its command, and without it would wait for it for "
                f"ever: mend the code and `retry`, or `cancel`, which tells {name} that there was such an answer"
            )
        with suppress(Conflict):  # another operator came first: look at what is left
            await store.commit(Batch(rows=deadletter.discarding(dead)))
            return len(dead)
    return 0


def _lost_answer(dead: Sequence[Item]) -> str:
    """The type of the answer to a command that an instance could not take, "" where there is none."""
    return next((one.type for one in reversed(dead) if one.command is None and one.type in _LOST), "")


async def cancel(
    store: Store, process: Orchestration, key: str, tenant: str = "", why: str = "", actor: str = "", id: str = ""
) -> int:
    """Cancel one instance: its dead letters are let go, and `Cancelled` comes to it. Returns how many were let go.

    `id` names the request. Errors: `NotFound` where there is neither an instance nor a dead letter.
    """
    place = RowKey(tenant, key)
    while True:
        dead = await deadletter.of_key(store, process.name, key, tenant)
        if not dead and place not in await store.get(process.table, [place]):
            raise NotFound(f"{process.process.name} has no instance {key!r}: `foldlog processes APP list` shows them")
        lost = _lost_answer(dead)
        # Without what is seldom there, so that code of before it reads the rest.
        body = msgspec.json.encode({"why": why, "lost": _LOST[lost]} if lost else {"why": why})
        draft = Draft(CANCELLED.name, CANCELLED.version, body, encode_meta(Meta(id, 0, id, "", actor)))
        told = Append(stream_of(process.process.name, key), (draft,), ANY, tenant)
        with suppress(Conflict):  # another operator came first: look at what is left
            # In one commit: an answer is not given up without a word, and is told of once.
            await store.commit(Batch((told,), deadletter.discarding(dead)))
            return len(dead)
