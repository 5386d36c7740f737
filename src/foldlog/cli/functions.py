"""`foldlog functions`: how each function of an app stands."""

from datetime import UTC, datetime
from typing import Any

import click

from foldlog import limits
from foldlog.app import App
from foldlog.cli.target import OnTarget, json_option, url_option
from foldlog.cli.views import app_of
from foldlog.cli.watching import Listed, print_listed, watch_option
from foldlog.flow.breaker import CLOSED, HALF_OPEN, OPEN
from foldlog.flow.members import Vitals
from foldlog.flow.standing import Count, Process, Standing, standings
from foldlog.model.clock import SystemClock
from foldlog.model.message import to_datetime

COLUMNS = "function", "lag", "age", "backlog", "waiting", "dead", "per s", "errors", "retries", "owners", "breaker"


@click.command(cls=OnTarget)
@click.argument("app")
@watch_option
@url_option
@json_option
def functions(app: str, url: str, every: int | None, machine: bool) -> None:
    """Show how each function of APP stands: how far behind, what waits, who runs it, and how it does there.

    lag: the events that concern it and that it has not passed; age: seconds since the first of them was recorded.
    backlog: what waits for a retry, behind one, or to be sent. waiting: of the fullest process, what waits there or is
    dead, and at how many it stops reading. dead: dead letters. These are as the store has them now; counts end at a
    limit, shown as >1,000.

    per s: events that went right in a second, between the last two heartbeats; an event of a projection counts once for
    each of its rows. errors: failed attempts; retries: attempts after a failed one; both since the processes that run
    now have started. These come with the processes' heartbeats, every few seconds, and are sums over all of them.

    owners: how many of the 16 partitions each process holds, and how many nobody does. breaker: of handlers; where
    processes differ, each one that is not closed.

    A function that a running process has given up for good, and why, stands below the table.

    Examples:
      foldlog functions bank.py
      foldlog functions bank.py --watch
      foldlog functions bank.py --json | jq 'select(.lag.seconds > 60)'
    """
    known = app_of((app, url))

    async def look(opened: App) -> Listed:
        now = SystemClock().now()
        found = await standings(opened.system.store, opened.system.functions(), now)
        remark = (
            _stopped(found) if found else "this app has no functions: it lists no projections, handlers or processes"
        )
        return Listed([_as_json(one, now) for one in found], COLUMNS, [_row(one, now) for one in found], remark)

    print_listed(lambda: known.open(functions=False), look, machine, every)


def _as_json(one: Standing, now: int) -> dict[str, Any]:
    lag = one.lag
    return {
        "function": one.function,
        "position": one.position,
        "lag": None if lag is None else {**lag.events._asdict(), "seconds": round(lag.seconds, 3)},
        "backlog": one.backlog._asdict(),
        "dead_letters": one.dead._asdict(),
        "limit": limits.PARKED,
        **_sums(one),
        "nobody": one.free,
        "processes": [
            {
                "owner": process.owner,
                "partitions": process.partitions,
                **({} if process.vitals is None else _told(process.vitals, now)),
                **({"stopped": process.stopped} if process.stopped else {}),
            }
            for process in one.processes
        ],
    }


def _stopped(found: list[Standing]) -> str:
    """Only a new start of the process runs the function again, so that the reason is to be seen."""
    return "; ".join(
        f"{one.function} has stopped for good in {_short(process.owner)}: {process.stopped}"
        for one in found
        for process in one.processes
        if process.stopped
    )


def _sums(one: Standing) -> dict[str, Any]:
    vitals = _vitals(one)
    return {
        "events": sum(found.done for found in vitals),
        "rate": round(sum(found.rate for found in vitals), 1),
        "errors": sum(found.failed for found in vitals),
        "retries": sum(found.retried for found in vitals),
    }


def _told(vitals: Vitals, now: int) -> dict[str, Any]:
    return {
        "events": vitals.done,
        "rate": vitals.rate,
        "errors": vitals.failed,
        "retries": vitals.retried,
        "waiting": vitals.waiting,
        "breaker": _state(vitals, now),
        "until": to_datetime(vitals.breaker).isoformat() if vitals.breaker else None,
    }


def _vitals(one: Standing) -> list[Vitals]:
    return [process.vitals for process in one.processes if process.vitals is not None]


def _state(vitals: Vitals, now: int) -> str | None:
    if vitals.breaker is None:
        return None
    return CLOSED if not vitals.breaker else OPEN if now < vitals.breaker else HALF_OPEN


def _row(one: Standing, now: int) -> tuple[object, ...]:
    sums, vitals = _sums(one), _vitals(one)
    return (
        one.function,
        "?" if one.lag is None else _count(one.lag.events),
        "?" if one.lag is None else f"{one.lag.seconds:,.1f}",
        _count(one.backlog),
        f"{max(found.waiting for found in vitals):,} of {limits.PARKED:,}" if vitals else "",
        _count(one.dead),
        f"{sums['rate']:,.1f}",
        sums["errors"],
        sums["retries"],
        _owners(one),
        _breakers(one.processes, now),
    )


def _count(count: Count) -> str:
    return f"{'>' if count.more else ''}{count.number:,}"


def _owners(one: Standing) -> str:
    held = [f"{_short(process.owner)} {process.partitions}" for process in one.processes]
    return ", ".join([*held, *([f"nobody {one.free}"] if one.free else [])])


def _breakers(processes: list[Process], now: int) -> str:
    told = [(_shown(one.vitals, now), _short(one.owner)) for one in processes if one.vitals is not None]
    states = {state for state, _ in told}
    if len(states) <= 1:
        return "".join(states)
    return ", ".join(f"{state} ({owner})" for state, owner in told if state != CLOSED)


def _shown(vitals: Vitals, now: int) -> str:
    state = _state(vitals, now) or ""
    if state != OPEN or vitals.breaker is None:
        return state
    return f"{state} until {datetime.fromtimestamp(vitals.breaker / 1e6, UTC):%H:%M:%S}Z"


def _short(owner: str) -> str:
    """An owner's host and process id, which tell people more than the unique id behind them."""
    host, _, rest = owner.partition(":")
    return f"{host}:{rest.partition(':')[0]}"
