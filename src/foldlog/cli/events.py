"""`foldlog events`."""

import asyncio
import base64
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from foldlog import limits
from foldlog.cli.output import Output, note
from foldlog.cli.target import OnTarget, find, json_option, opened, url_option
from foldlog.errors import Invalid
from foldlog.model.message import Recorded
from foldlog.model.query import Query
from foldlog.model.stream import check_limit
from foldlog.ports.store import Page, Store

COLUMNS = ("position", "recorded", "stream", "version", "type", "data")
_SHOWN = 400  # characters of a body that a person gets to see


@click.command(cls=OnTarget)
@click.argument("target", metavar="URL|APP")
@click.option("--stream", metavar="ID", help="Events of one stream, category-key, in order of its versions.")
@click.option("--category", metavar="NAME", help="Events of all streams of one category.")
@click.option("--type", "types", multiple=True, metavar="NAME", help="Stored name; several: any of them.")
@click.option("--tag", "tags", multiple=True, metavar="FIELD:VALUE", help="A tag; several: all of them.")
@click.option("--tenant", metavar="NAME", help="One tenant; without it all, but the default one for stream and tag.")
@click.option("--since", metavar="TIME", help="Recorded at or after, like 2026-01-31T12:00:00Z.")
@click.option("--until", metavar="TIME", help="Recorded at or before.")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Behind this position (with --stream: version).")
@click.option("--limit", type=click.IntRange(min=1), help=f"At most so many; tables show {limits.FIND} by default.")
@click.option("--backward", is_flag=True, help="Newest first.")
@click.option("--follow", is_flag=True, help="Go on with what is new, from any process, until Ctrl-C.")
@url_option
@json_option
def events(target: str, url: str, machine: bool, backward: bool, follow: bool, **asked: Any) -> None:
    """Show events of a store. No code is needed: bodies are shown as they are stored.

    Examples:
      foldlog events sqlite:bank.db --stream account-17
      foldlog events bank.py --type account.deposited --since 2026-01-01T00:00:00Z --limit 20
      foldlog events sqlite:bank.db --follow --json | jq .data
    """
    if backward and follow:
        raise click.UsageError("--backward and --follow exclude each other")
    after, limit = asked.pop("after"), asked.pop("limit")
    if limit is not None:
        check_limit(limit, 2**63 - 1)
    elif not (machine or follow):
        limit = limits.FIND
    since, until = (moment(text) if text is not None else None for text in map(asked.pop, ("since", "until")))
    query = Query(**asked, since=since, until=until)

    place = find(target, url)

    async def show() -> None:
        async with opened(place) as store:
            if follow or machine:
                await _stream(store, query, after, limit, Output(machine), backward=backward, follow=follow)
            else:
                await _table(store, query, after, limit, backward)

    asyncio.run(show())


async def _stream(
    store: Store, query: Query, after: int, limit: int | None, output: Output, *, backward: bool, follow: bool
) -> None:
    left = limit
    async for page in _pages(store, query, after, limit, backward=backward, follow=follow):
        for event in page.events if left is None else page.events[:left]:
            if output.machine:
                output.json(as_json(event))
            else:
                cells = _cells(event)
                output.say(f"{cells[0]} {cells[1]} {cells[2]}@{cells[3]} {cells[4]} {cells[5]}")
        sys.stdout.flush()
        if left is not None:
            left -= len(page.events)
            if left <= 0:
                return


async def _pages(
    store: Store, query: Query, after: int, limit: int | None, *, backward: bool, follow: bool
) -> AsyncIterator[Page]:
    most = min(limit or limits.PAGE, limits.PAGE)
    while True:
        page = await store.read(query, after, most, backward=backward)
        if page.events:
            after = page.events[-1].version if query.stream else page.events[-1].position
            yield page
        if page.more:
            continue
        if not follow:
            return
        # What comes behind the head of the page just read ends the waiting, however it came to be there.
        await store.wait(page.head, limits.IDLE_WAIT)


async def _table(store: Store, query: Query, after: int, limit: int, backward: bool) -> None:
    found: list[Recorded[Any]] = []
    more = False
    async for page in _pages(store, query, after, limit, backward=backward, follow=False):
        found += page.events
        more = page.more or len(found) > limit
        if len(found) >= limit:
            break
    found = found[:limit]
    tenants = any(event.tenant for event in found)
    columns = ("tenant", *COLUMNS) if tenants else COLUMNS
    rows = [(event.tenant, *_cells(event)) if tenants else _cells(event) for event in found]
    Output(machine=False).table(columns, rows, last_cut=True)
    if not found:
        note("no event found; stored names, streams and tags match as a whole")
    if more:
        last = found[-1].version if query.stream else found[-1].position
        note(f"{len(found)} shown; there are more: --after {last}, or --limit")


def as_json(event: Recorded[Any]) -> dict[str, Any]:
    """A recorded event as a JSON object; a body that is no JSON in base64."""
    meta = event.meta
    plain = event.encoding == "json"
    return {
        "position": event.position,
        "tenant": event.tenant,
        "stream": event.stream,
        "version": event.version,
        "type": event.type,
        "schema": event.schema,
        "recorded": event.recorded,
        "occurred": event.occurred,
        "id": event.id,
        "correlation": meta.correlation,
        "causation": meta.causation,
        "command_id": meta.command,
        "actor": meta.actor,
        "traceparent": meta.traceparent,
        "tags": meta.tags,
        "headers": meta.headers,
        "encoding": event.encoding,
        "data": msgspec.Raw(event.body.replace(b"\n", b" ")) if plain else base64.b64encode(event.body).decode(),
    }


def _cells(event: Recorded[Any]) -> tuple[object, ...]:
    body = event.body[:_SHOWN].decode("utf-8", "replace")
    if event.encoding != "json":
        body = f"{len(event.body):,} bytes of {event.encoding}"
    when = event.recorded.isoformat(timespec="milliseconds")[:-6]
    return event.position, f"{when}Z", event.stream, event.version, event.type, body


def moment(text: str) -> datetime:
    """A time as written on the command line. Errors: `Invalid`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(f"{text!a} is no time: write 2026-01-31T12:00:00Z") from error
    return found.astimezone(UTC) if found.tzinfo else found
