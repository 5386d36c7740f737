"""Foldlog: event sourcing for Python.

Everything is a fold or an effect. The public names live here and are loaded on first use (PEP 562), so that
`import foldlog` loads no driver, no codec and no event loop: import time is cold-start time.
"""

from foldlog.lazy import on_first_use

TYPE_CHECKING = False  # what type checkers take for True; importing `typing` would be most of the import's time
if TYPE_CHECKING:
    from foldlog.app import App
    from foldlog.errors import Conflict, Rejected, Unavailable
    from foldlog.flow.reading import Found
    from foldlog.model.decider import Decider
    from foldlog.model.event import command, event
    from foldlog.model.handler import Context, DeadLetter, Retry, Skip, handler
    from foldlog.model.message import Receipt, Recorded, Send
    from foldlog.model.projection import projection
    from foldlog.model.query import Query
    from foldlog.model.retry import Backoff, Breaker
    from foldlog.model.schema import Upcast

__version__ = "0.1.0"

__all__ = [
    "App",
    "Backoff",
    "Breaker",
    "Conflict",
    "Context",
    "DeadLetter",
    "Decider",
    "Found",
    "Query",
    "Receipt",
    "Recorded",
    "Rejected",
    "Retry",
    "Send",
    "Skip",
    "Unavailable",
    "Upcast",
    "command",
    "event",
    "handler",
    "projection",
]

__getattr__, __dir__ = on_first_use(
    __name__,
    {
        "App": "app",
        "Backoff": "model.retry",
        "Breaker": "model.retry",
        "Conflict": "errors",
        "Context": "model.handler",
        "DeadLetter": "model.handler",
        "Decider": "model.decider",
        "Found": "flow.reading",
        "Query": "model.query",
        "Receipt": "model.message",
        "Recorded": "model.message",
        "Rejected": "errors",
        "Retry": "model.handler",
        "Send": "model.message",
        "Skip": "model.handler",
        "Unavailable": "errors",
        "Upcast": "model.schema",
        "command": "model.event",
        "event": "model.event",
        "handler": "model.handler",
        "projection": "model.projection",
    },
)
