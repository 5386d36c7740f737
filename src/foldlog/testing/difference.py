"""What a test shows when an answer is not the expected one."""

from collections.abc import Sequence
from difflib import ndiff
from pprint import pformat

from foldlog.model.message import Send
from foldlog.model.shape import same


def compare(what: str, found: Sequence[object], expected: Sequence[object]) -> None:
    """Raise `AssertionError` with the difference, line by line, unless both are the same in order."""
    __tracebackhide__ = True
    if len(found) == len(expected) and all(map(_alike, found, expected)):
        return
    lines = "\n".join(line.rstrip() for line in ndiff(_lines(expected), _lines(found)))
    raise AssertionError(f"{what} (- expected, + found)\n{lines}")


def _alike(one: object, other: object) -> bool:
    if isinstance(one, Send) and isinstance(other, Send):
        return (one.decider, one.key) == (other.decider, other.key) and same(one.command, other.command)
    return type(one) is type(other) and same(one, other)


def _lines(values: Sequence[object]) -> list[str]:
    return [line for value in values for line in pformat(value, width=100, sort_dicts=False).splitlines()] or [
        "nothing"
    ]
