"""Instances of processes and their histories, as tables and as JSON."""

from typing import Any

import msgspec

from foldlog.cli.output import to_json
from foldlog.flow import inbox, instances
from foldlog.flow.instances import Shown
from foldlog.flow.orchestrate import Instance, Orchestration
from foldlog.flow.recall import Sent, Taken
from foldlog.flow.standing import Count
from foldlog.model.event import stored
from foldlog.model.message import to_datetime
from foldlog.model.process import Cancel

STATE = 200  # characters of a state in a table


def step_json(taken: Taken, found: Shown) -> dict[str, Any]:
    """One step as JSON has it."""
    event, step = taken.event, taken.step
    told: dict[str, Any] = {
        "position": event.position,
        "time": to_datetime(event.time).isoformat(),
        "type": event.type,
        "stream": event.stream,
        "version": event.version,
        "event": msgspec.Raw(event.body),
    }
    if step is None:
        return {**told, "error": f"{type(taken.fault).__name__}: {taken.fault}"}
    if step.passed:
        return {**told, "passed": True}
    after = step.instance
    commands = [_command(one, taken, found) for one in taken.sent]
    alarms = [{"timer": one.name, "event": one.type, "due": iso(one.due)} for one in instances.alarms(taken)]
    cancelled = [one.name for one in step.answers if isinstance(one, Cancel)]
    timers = {"timers": alarms} if alarms else {}
    return {
        **told,
        "state": None if after is None else msgspec.Raw(bytes(after.state)),
        **({"commands": commands} if commands else {}),
        **timers,
        **({"cancels": cancelled} if cancelled else {}),
    }


def _command(sent: Sent, taken: Taken, found: Shown) -> dict[str, Any]:
    """A command and what became of it."""
    send = sent.send
    row = next((one for one in found.open if one.place == (taken.event.position, sent.number)), None)
    became = found.answers.get(sent.id, "")
    if not became:
        became = "sent" if row is None else {inbox.READY: "to send"}.get(row.status, row.status)
    mark = stored(type(send.command))
    told: dict[str, Any] = {
        "command": mark.name if mark else type(send.command).__name__,
        "to": f"{send.decider}-{send.key}",
        "became": became,
    }
    if row is not None and row.error:
        told |= {"attempts": row.attempts, "error": last(row.error), "letter": row.row_key.key}
    return told


def step_lines(step: dict[str, Any]) -> list[str]:
    """A step for people, below its first line."""
    if step.get("passed"):
        return ["passed over: its timer had been cancelled or moved"]
    if "error" in step:
        return [f"failed: {step['error']}"]
    state = step["state"]
    lines = ["no instance afterwards" if state is None else f"state: {bytes(state).decode()[:STATE]}"]
    for one in step.get("commands", ()):
        failed = f" after {one['attempts']} attempts: {one['error']}" if "error" in one else ""
        lines.append(f"sends {one['command']} to {one['to']}: {one['became']}{failed}")
    lines += [f"sets the timer {one['timer']}: {one['event']} at {short(one['due'])}" for one in step.get("timers", ())]
    return [*lines, *(f"cancels the timer {name}" for name in step.get("cancels", ()))]


def instance_json(one: instances.Listed) -> dict[str, Any]:
    held = one.instance
    return {
        "key": one.key,
        "tenant": one.tenant,
        "state": None if held is None else msgspec.Raw(bytes(held.state)),
        "version": 0 if held is None else held.version,
        "events": 0 if held is None else held.steps,
        "began": iso(held.began if held else 0),
        "changed": iso(held.changed if held else 0),
        "timers": {name: iso(timer.due) for name, timer in sorted((held.timers if held else {}).items())},
        "retries": one.retries,
        "dead_letters": one.dead,
    }


def instance_cells(row: dict[str, Any], columns: tuple[str, ...]) -> list[object]:
    shown = {
        **row,
        "began": short(row["began"]),
        "changed": short(row["changed"]),
        "timers": len(row["timers"]),
        "due": short(min(row["timers"].values(), default=None)),
        "dead": len(row["dead_letters"]),
        "state": "" if row["state"] is None else bytes(row["state"]).decode()[:STATE],
    }
    return [shown[name] for name in columns]


def comparable(process: Orchestration, held: Instance | None) -> object:
    """An instance as far as the log says it, whatever JSON its state was written as."""
    return None if held is None else (to_json(process.read(held)), sorted(held.timers.items()), held.steps)


def state_text(held: Instance) -> str:
    return bytes(held.state).decode()[:STATE]


def count(counted: dict[str, Any]) -> object:
    return Count(**counted).number if not counted["more"] else f">{counted['number']:,}"


def iso(micros: int) -> str | None:
    return to_datetime(micros).isoformat() if micros else None


def short(iso: str | None) -> str:
    return "" if iso is None else f"{iso.replace('T', ' ').partition('.')[0].removesuffix('+00:00')}Z"


def last(error: str) -> str:
    return inbox.last_line(error) if error else ""
