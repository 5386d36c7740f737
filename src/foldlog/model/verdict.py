"""What a handler answered, checked: to one event, or to each event of a page."""

from collections.abc import Sequence

from foldlog import limits
from foldlog.errors import Invalid
from foldlog.model.handler import DeadLetter, Retry, Skip
from foldlog.model.message import Send, sends


def verdict(answer: object, what: str) -> Retry | Skip | DeadLetter | Sequence[Send]:
    """What a handler answered to one event: a verdict, or the commands that follow. Errors: `Invalid`."""
    if isinstance(answer, Retry | Skip | DeadLetter):
        return answer
    found = sends(answer)
    if found is None:
        raise Invalid(
            f"{what} answered {type(answer).__name__}: return None, Send, a list of Send, Retry, Skip or DeadLetter"
        )
    if len(found) > limits.SENDS:
        raise Invalid(f"{what} answered {len(found)} commands; the limit is {limits.SENDS}")
    return found


def verdicts(answer: object, count: int, what: str) -> Sequence[object]:
    """What a handler answered to a page of `count` events: one answer for each, yet unchecked. Errors: `Invalid`."""
    if answer is None:
        return (None,) * count
    if not isinstance(answer, list | tuple):
        raise Invalid(
            f"{what} answered {type(answer).__name__} to a page: return None (all are done), or a list with one of "
            "None, Send, a list of Send, Retry, Skip or DeadLetter for each event"
        )
    if len(answer) != count:
        raise Invalid(f"{what} answered {len(answer)} verdicts to a page of {count} events: give each event one")
    return answer
