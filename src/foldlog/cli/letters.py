"""`foldlog dead-letters`: what no attempt has helped, seen and handled from any process."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click
import msgspec

from foldlog import limits
from foldlog.cli.astest import test_of
from foldlog.cli.output import Output
from foldlog.cli.target import GroupOnTarget, Target, find, json_option, opened, url_option
from foldlog.cli.watching import Listed, print_listed, watch_option
from foldlog.errors import NotFound
from foldlog.flow import deadletter
from foldlog.flow.deadletter import Letter
from foldlog.flow.lease import all_checkpoints, function_of
from foldlog.model.message import to_datetime
from foldlog.ports.store import Store

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Place = tuple[str, str]
COLUMNS = ("id", "type", "stream", "version", "key", "attempts", "failed", "error")


@click.group("dead-letters", cls=GroupOnTarget)
@click.argument("target", metavar="APP|URL")
@url_option
@click.pass_context
def dead_letters(context: click.Context, target: str, url: str) -> None:
    """List, show, replay and discard dead letters, also while `foldlog run` runs elsewhere.

    A dead letter is an event that a handler or process has failed on for good, a command of theirs that was refused or
    failed, or a row that a projection's fold has failed on.
    Who runs the function takes a replay or discard up within a second.

    Examples:
      foldlog dead-letters sqlite:bank.db list
      foldlog dead-letters sqlite:bank.db replay --function greet
      foldlog dead-letters bank.py discard handler.greet/09/0000000000000000007/000
    """
    context.obj = target, url


def _filters(command: F) -> F:
    for option in (
        json_option,
        click.option("--all", "everything", is_flag=True, help="All of them."),
        click.option("--type", metavar="NAME", help="Those of events with this stored name."),
        click.option("--key", metavar="KEY", help="Those of one key."),
        click.option("--function", metavar="NAME", help="Those of one handler or process."),
        click.argument("id", required=False),
    ):
        command = option(command)
    return command


@dead_letters.command("list")
@click.option("--function", metavar="NAME", help="Those of one handler or process, or of view.NAME.VERSION.")
@click.option("--limit", type=click.IntRange(1, limits.FIND_MAX), default=limits.FIND, show_default=True)
@watch_option
@json_option
@click.pass_obj
def list_letters(place: Place, function: str | None, limit: int, every: int | None, machine: bool) -> None:
    """List dead letters, the oldest event first.

    Examples:
      foldlog dead-letters bank.py list --function greet --json
      foldlog dead-letters bank.py list --watch
    """
    target = find(*place)

    async def look(store: Store) -> Listed:
        found = await deadletter.dead_letters(store, await _function(store, target, function), limit)
        remark = f"{limit} shown; there may be more: --limit" if len(found) == limit else ""
        if not found and every is None:
            remark = "no dead letters" if function is None else f"no dead letters of {function}"
        return Listed([_as_json(letter) for letter in found], COLUMNS, [_row(letter) for letter in found], remark)

    print_listed(lambda: opened(target), look, machine, every)


@dead_letters.command()
@click.argument("id")
@click.option("--as-test", is_flag=True, help="Print a pytest case that fails as the function did.")
@json_option
@click.pass_obj
def show(place: Place, id: str, as_test: bool, machine: bool) -> None:
    """Show one dead letter with the whole traceback.

    --as-test prints a pytest case instead, which runs as it is: the event with its envelope, the app's own function,
    and for a projection the events that made its row. It holds what the events hold, personal data too: read it before
    you share or commit it.

    Examples:
      foldlog dead-letters bank.py show handler.greet/09/0000000000000000007/000
      foldlog dead-letters bank.py show handler.greet/09/0000000000000000007/000 --as-test > test_greet.py
    """
    if as_test:
        _print_test(place, id, machine)
        return
    letter = _with_store(find(*place), lambda store: deadletter.show(store, id))
    output = Output(machine)
    if machine:
        output.json(_as_json(letter))
        return
    for name, value in _as_json(letter).items():
        if name != "error" and value != "":
            output.say(f"{name}: {value}")
    for line in letter.error.splitlines():
        output.say(f"  {line}")


@dead_letters.command()
@_filters
@click.pass_obj
def replay(place: Place, /, machine: bool, **which: Any) -> None:
    """Try dead letters again: the one with ID, or those that match.

    A projection's rows cannot be replayed: mend the fold and give the projection a new version.

    Examples:
      foldlog dead-letters bank.py replay handler.greet/09/0000000000000000007/000
      foldlog dead-letters bank.py replay --function greet --type account.opened
      foldlog dead-letters bank.py replay --all
    """
    _request(place, deadletter.replay, "replayed", machine, which)


@dead_letters.command()
@_filters
@click.pass_obj
def discard(place: Place, /, machine: bool, **which: Any) -> None:
    """Give dead letters up for good: the one with ID, or those that match. What waits behind them goes on.

    Examples:
      foldlog dead-letters bank.py discard handler.greet/09/0000000000000000007/000
      foldlog dead-letters bank.py discard --key 17
    """
    _request(place, deadletter.discard, "discarded", machine, which)


def _request(
    place: Place, work: Callable[..., Awaitable[int]], done: str, machine: bool, which: dict[str, Any]
) -> None:
    everything = which.pop("everything")
    named = [name for name, value in which.items() if value is not None]
    if everything == bool(named) or ("id" in named and len(named) > 1):
        raise click.UsageError("say which: an ID; or --function, --key, --type; or --all")
    named_function = which.pop("function")
    target = find(*place)

    async def do(store: Store) -> int:
        return await work(store, await _function(store, target, named_function), **which)

    count = _with_store(target, do)
    output = Output(machine)
    if machine:
        output.json({done: count})
    else:
        output.say(f"{count} {done}")


def _print_test(place: Place, id: str, machine: bool) -> None:
    target = find(*place)
    target.known_app()  # before the store is looked for: a test needs the code

    async def do() -> str:
        async with opened(target) as store:
            return await test_of(store, target, await deadletter.show(store, id))

    text = asyncio.run(do())
    output = Output(machine)
    if machine:
        output.json({"test": text})
    else:
        sys.stdout.write(text)  # to be redirected into a file: as it is, whatever the terminal's width


def _with_store(target: Target, work: Callable[[Store], Awaitable[T]]) -> T:
    async def do() -> T:
        async with opened(target) as store:
            return await work(store)

    return asyncio.run(do())


async def _function(store: Store, target: Target, name: str | None) -> str | None:
    """A function's name as the store knows it. Errors: `NotFound` for one that neither the app lists nor ever ran."""
    if name is None:
        return None
    known = {function_of(key) for key in await all_checkpoints(store)}
    if target.app is not None:
        known.update(one.name for one in target.app.system.functions())
    if not name.startswith(("handler.", "process.", "view.")):
        name = f"process.{name}" if f"process.{name}" in known else f"handler.{name}"
    if name not in known:
        raise NotFound(f"there is no function {name!r}; known: {', '.join(sorted(known)) or 'none'}")
    return name


def _as_json(letter: Letter) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(letter)
    return {**shown, "failed": to_datetime(letter.failed).isoformat()}


def _row(letter: Letter) -> tuple[object, ...]:
    failed = to_datetime(letter.failed).isoformat(sep=" ", timespec="seconds")[:-6]
    # The last line of a traceback says what happened.
    error = letter.error.strip().rpartition("\n")[2]
    what = f"{letter.type} > {letter.command}" if letter.command else letter.type
    return letter.id, what, letter.stream, letter.version, letter.key, letter.attempts, f"{failed}Z", error
