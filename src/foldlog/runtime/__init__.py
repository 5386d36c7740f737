"""Where functions run: today one worker in the app's own process.

Its names are loaded on first use (PEP 562): a process that only sends and reads, as behind an HTTP request, starts
without the machinery of functions.
"""

from typing import TYPE_CHECKING

from foldlog.lazy import on_first_use

if TYPE_CHECKING:
    from foldlog.runtime.logs import log_json
    from foldlog.runtime.portal import Portal
    from foldlog.runtime.serve import until_signal
    from foldlog.runtime.worker import Worker, reached

__all__ = ["Portal", "Worker", "log_json", "reached", "until_signal"]

__getattr__, __dir__ = on_first_use(
    __name__,
    {"Portal": "portal", "Worker": "worker", "log_json": "logs", "reached": "worker", "until_signal": "serve"},
)
