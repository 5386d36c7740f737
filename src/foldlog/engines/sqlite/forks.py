"""Which files this process has open. SQLite keeps its locks on a file for each process, and a fork copies what it
believes of them without the locks themselves; so a child that opens such a file again could damage it."""

import os

from foldlog.errors import Misconfigured

_open: set[tuple[int, str, int]] = set()  # (process, file, store); a set, because a lock could be held at a fork


def check(path: str) -> None:
    """Refuse a file that the parent of this process had open when it forked. Errors: `Misconfigured`."""
    file = os.path.realpath(path)
    if any(one == file and process != os.getpid() for process, one, _ in _open.copy()):
        raise Misconfigured(
            f"{path} was open when this process was forked, and SQLite's locks do not survive that: open the app "
            "in each process, after the fork, and never before it"
        )


def opened(path: str, store: object) -> None:
    """The store has opened its file."""
    _open.add((os.getpid(), os.path.realpath(path), id(store)))


def closed(path: str, store: object) -> None:
    """The store has closed its file."""
    _open.discard((os.getpid(), os.path.realpath(path), id(store)))
