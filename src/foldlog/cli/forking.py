"""`foldlog fork`."""

import asyncio
from datetime import datetime

import click

from foldlog.cli.events import moment
from foldlog.cli.output import Output
from foldlog.cli.progress import progress
from foldlog.cli.target import OnTarget, Target, find, json_option, opened, url_option
from foldlog.connect import check_fork, fork
from foldlog.errors import NotFound
from foldlog.flow.fork import Cut, Fork, cut_at
from foldlog.model.finding import counted


@click.command("fork", cls=OnTarget)
@click.argument("target", metavar="URL|APP")
@click.argument("new", metavar="NEW_URL")
@click.option("--at", metavar="POSITION|TIME", help="The last event to copy: its position, or a time; else the end.")
@click.option(
    "--by",
    type=click.Choice(["recorded", "occurred"]),
    default="recorded",
    show_default=True,
    help="What a TIME means: when events were recorded, or when they had occurred.",
)
@click.option(
    "--handlers",
    type=click.Choice(["new", "all"]),
    default="new",
    show_default=True,
    help="new: handlers leave the copied events alone. all: they run for them again, with all their effects.",
)
@url_option
@json_option
def fork_log(target: str, new: str, at: str | None, by: str, handlers: str, url: str, machine: bool) -> None:
    """Copy the log up to a point into the new file NEW_URL, to try a fix against real history.

    Events keep position, version, id, times, envelope and tenant; the fork goes on behind them under a log identity of
    its own. Nothing else comes along: no rows of views, no checkpoints, retries, dead letters, remembered command ids
    or imports. Projections are built anew from the start. Handlers are not run for what was copied, unless --handlers
    all says so; what they had not yet done at that point stays undone.

    The old log is only read and may be in use. The new file is there when it is whole: a fork that was stopped is
    simply started again. With --by occurred the copy ends before the first event that occurred later, so that no
    stream has a gap; events behind it are left out, even where they had occurred by then, and counted.

    Examples:
      foldlog fork sqlite:bank.db sqlite:trial.db
      foldlog fork sqlite:bank.db sqlite:trial.db --at 1200
      foldlog fork bank.py sqlite:trial.db --at 2026-01-31T12:00:00Z
    """
    point = None if at is None else int(at) if at.isascii() and at.isdigit() else moment(at)
    if by == "occurred" and not isinstance(point, datetime):
        raise click.UsageError("--by occurred says what a time means: give one with --at")
    place = find(target, url)
    cut, log = asyncio.run(_fork(place, new, point, by, handlers, bar=not machine))
    _report(Output(machine), new, cut, log, handlers)


async def _fork(
    place: Target, new: str, point: int | datetime | None, by: str, handlers: str, *, bar: bool
) -> tuple[Cut, str]:
    check_fork(place.url, new)
    async with opened(place) as store:
        head = await store.head()
        if not head:
            raise NotFound(f"{place.url} holds no events: there is nothing to fork")
        seen = 0

        def told(position: int) -> None:
            nonlocal seen
            advance(position - seen)
            seen = position

        with progress("look", head, bar and by == "occurred") as advance:
            cut = await cut_at(store, point, by, told)
        seen = 0
        origin = Fork(store.identity.log, store.identity.epoch, cut.position, handlers)
        with progress("fork", cut.position, bar) as advance:
            return cut, await fork(place.url, new, cut.position, [origin.row()], told)


def _report(output: Output, new: str, cut: Cut, log: str, handlers: str) -> None:
    if output.machine:
        output.json(
            {
                "url": new,
                "log": log,
                "position": cut.position,
                "recorded": cut.recorded,
                "left_out": cut.left_out,
                "handlers": handlers,
            }
        )
        return
    when = cut.recorded.isoformat(timespec="milliseconds")[:-6]
    output.say(f"{new} is a log of its own with all events up to position {cut.position} (recorded {when}Z)")
    if cut.left_out:
        output.say(f"left out, though it had occurred by then: {counted(cut.left_out, 'event')} behind it")
    output.say("projections are built anew from its start when its functions run")
    if handlers == "new":
        output.say(f"handlers leave the copied events alone: they begin behind position {cut.position}")
    else:
        output.say(
            "handlers run for every copied event again, with all their effects: see that they reach nothing real"
        )
