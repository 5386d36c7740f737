"""`--at` and `--by`: a view as it was, with a bar for how far the fold is."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import click

from foldlog.app import App
from foldlog.cli.progress import progress
from foldlog.errors import Invalid

_at = click.option(
    "--at", metavar="WHEN", help="As it was: after this position, or at a time like 2026-01-31T12:00:00Z."
)
_by = click.option(
    "--by",
    type=click.Choice(["recorded", "occurred"]),
    default="recorded",
    show_default=True,
    help="Which time of the events --at means.",
)


def past_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds both options to a command."""
    return _at(_by(command))


def moment(text: str | None) -> int | datetime | None:
    """A position or a time. Errors: `Invalid`."""
    if text is None:
        return None
    try:
        return int(text) if text.removeprefix("-").isdecimal() else _time(text)
    except ValueError as error:
        raise Invalid(f"{text[:80]!a} is no position and no time: write 17, or 2026-01-31T12:00:00Z") from error


@asynccontextmanager
async def watched(app: App, at: int | datetime | None) -> AsyncIterator[App]:
    """The app, open without its functions; a bar shows how far a look into the past is."""
    async with app.open(functions=False):
        total = at if isinstance(at, int) else await app.system.store.head()
        with progress("fold", total, at is not None) as advance:
            seen = 0

            def told(position: int, _head: int) -> None:
                nonlocal seen
                advance(position - seen)
                seen = position

            app.system.travel.told = told
            yield app


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found
