"""What an error means to whoever typed the command: an exit code for machines, and the next thing to do for people."""

from foldlog.errors import (
    Conflict,
    Corrupt,
    FoldlogError,
    Misconfigured,
    NotFound,
    Refused,
    Rejected,
    Unavailable,
    Undecodable,
)

_CHANGED = (
    "what is stored is as it was written, but the code has changed: `foldlog doctor APP` tells which events it cannot "
    "read any more, and `foldlog schema APP diff`, where there is a lock file, what was changed"
)
CODES: tuple[tuple[type[FoldlogError], int, str], ...] = (
    (NotFound, 3, "list what there is: foldlog views APP list, foldlog events URL, foldlog dead-letters URL list"),
    (Rejected, 3, "this is the decider's answer; nothing was stored"),
    (Refused, 3, "correct the input and try again; nothing more was stored"),
    (Conflict, 4, "another writer came first: look at what is stored now, then try again"),
    (Unavailable, 5, "try again; if it stays so, look at the disk or the server, and at other processes on this store"),
    (Misconfigured, 6, "correct the code, the URL or a setting; `foldlog check APP` shows every fault of an app"),
    (Undecodable, 7, _CHANGED),
    (Corrupt, 7, "stop writing to this store, keep a copy of it, and restore a backup"),
)


def advised(error: FoldlogError) -> tuple[int, str]:
    """Exit code and advice: those of the first class on the list that fits."""
    return next((number, advice) for kind, number, advice in CODES if isinstance(error, kind))
