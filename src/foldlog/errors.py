"""Every exception that Foldlog raises on purpose.

    FoldlogError                      500
    ├── Refused                       the request was understood and not done; nothing was stored
    │   ├── Rejected        422       a decider's no: code, message, data
    │   ├── Invalid         400       the input breaks a rule of its own shape
    │   ├── Unauthenticated 401       nobody knows who asks
    │   ├── Forbidden       403       somebody who may not
    │   ├── NotFound        404       no such thing
    │   └── TooLarge        413       a limit of limits.py was met
    ├── Conflict            409       another writer came first; nothing was stored; load again
    ├── Unavailable         503       try again after `retry_after` seconds; nothing was stored
    ├── Misconfigured       500       raised only while starting: the code or a setting is wrong
    └── Corrupt             500       what is stored is not what was written: stop and alert, never skip
        └── Undecodable     500       one stored event does not fit the code that reads it

`code` is stable and meant for machines, `status` is the HTTP status, the first line of the docstring is the message
where none is given.
"""

from typing import Any, ClassVar


class FoldlogError(Exception):
    """Something went wrong in Foldlog."""

    code: str = "error"
    status: ClassVar[int] = 500

    def __init__(self, message: str = "") -> None:
        self.message = message or (type(self).__doc__ or "").strip().split("\n")[0]
        super().__init__(self.message)


class Refused(FoldlogError):
    """The request was understood and not done; nothing was stored."""

    code = "refused"
    status = 422


class Rejected(Refused):
    """A decider said no.

    `code` is the decider's own stable name of the reason (`account.not-possible`), `data` what a caller may need to
    explain it (JSON-able). Where it comes back to a process as a value, `command` is the command that was refused,
    `decider` the category and `key` the key that it was sent to.
    """

    def __init__(
        self, code: str, message: str = "", data: Any = None, command: Any = None, decider: str = "", key: str = ""
    ) -> None:
        super().__init__(message or code)
        self.code = code
        self.data = data
        self.command, self.decider, self.key = command, decider, key

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.message, self.data, self.command, self.decider, self.key)


class Invalid(Refused):
    """The input breaks a rule of its own shape."""

    code = "invalid"
    status = 400


class Unauthenticated(Refused):
    """Nobody knows who asks."""

    code = "unauthenticated"
    status = 401


class Forbidden(Refused):
    """The one who asks may not."""

    code = "forbidden"
    status = 403


class NotFound(Refused):
    """There is no such thing."""

    code = "not-found"
    status = 404


class TooLarge(Refused):
    """A limit was met."""

    code = "too-large"
    status = 413


class Conflict(FoldlogError):
    """Another writer came first; nothing was stored.

    `what` names the stream, tag condition or row (`table/key`), `expected` and `actual` its versions. `row` is set
    where a row's condition failed, so that callers can tell it from a stream's.
    """

    code = "conflict"
    status = 409

    def __init__(self, what: str, expected: object, actual: object, *, row: str = "") -> None:
        super().__init__(f"{what}: expected {expected}, found {actual}; load again and decide again")
        self.what, self.expected, self.actual, self.row = what, expected, actual, row

    def __reduce__(self) -> tuple[Any, ...]:
        return _conflict, (self.what, self.expected, self.actual, self.row)


def _conflict(what: str, expected: object, actual: object, row: str) -> Conflict:
    return Conflict(what, expected, actual, row=row)


class Unavailable(FoldlogError):
    """The store cannot take this now; nothing was stored."""

    code = "unavailable"
    status = 503

    def __init__(self, message: str = "", retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Misconfigured(FoldlogError):
    """The code or a setting is wrong; raised only while starting.

    `faults` names every fault that was found, where there is more than one.
    """

    code = "misconfigured"

    def __init__(self, message: str = "", faults: tuple[str, ...] = ()) -> None:
        super().__init__(message or "; ".join(faults))
        self.faults = faults or (self.message,)


class Corrupt(FoldlogError):
    """What is stored is not what was written."""

    code = "corrupt"


class Undecodable(Corrupt):
    """A stored event does not fit the code that reads it."""

    code = "undecodable"
