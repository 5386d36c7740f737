"""The door of `foldlog`: without the extra it says which one to install."""

import sys
from collections.abc import Callable, Sequence

_MISSING = """\
error: misconfigured: the command line needs click and rich
next: pip install 'foldlog[cli]', or, from a clone, pip install 'path/to/the/clone[cli]'
"""

_run: Callable[[Sequence[str]], int] | None
try:
    from foldlog.cli.program import run as _run
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] not in {"click", "rich"}:
        raise
    _run = None


def main() -> int:
    """Run the command line of this process; returns its exit code."""
    if _run is None:
        sys.stderr.write(_MISSING)
        return 6
    return _run(sys.argv[1:])
