"""What a look at a log and its app has found."""

import msgspec

OK, WARN, FAIL = "ok", "warn", "fail"


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at. `check` names what was looked at, `state` is "ok", "warn" (look at it soon) or "fail" (what
    is promised does not hold now), `what` says what is so and `next` what to do about it."""

    check: str
    state: str
    what: str
    next: str = ""


class Examined(msgspec.Struct):
    """What an engine finds below the port: findings, the kinds of events as (category, type, schema version), and the
    names of the tables of rows."""

    findings: list[Finding]
    kinds: list[tuple[str, str, int]] = []
    tables: list[str] = []


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 event", "1,200 events"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
