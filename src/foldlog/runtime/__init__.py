"""Where functions run: today one worker in the app's own process.

Its names are loaded on first use (PEP 562): a process that only sends and reads, as behind an HTTP request, starts
without the machinery of functions.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foldlog.runtime.logs import log_json
    from foldlog.runtime.portal import Portal
    from foldlog.runtime.serve import until_signal
    from foldlog.runtime.worker import Worker, reached

__all__ = ["Portal", "Worker", "log_json", "reached", "until_signal"]

_HOME = {"Portal": "portal", "Worker": "worker", "log_json": "logs", "reached": "worker", "until_signal": "serve"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value
