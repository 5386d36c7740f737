"""What makes a system built on Foldlog easy to test, and the contract suites that adapters are proved with."""

from typing import TYPE_CHECKING

from foldlog.lazy import on_first_use

if TYPE_CHECKING:
    from foldlog.testing.exported import exported
    from foldlog.testing.history import fold_history
    from foldlog.testing.kit import FakeClock, SequentialIds, given

__all__ = ["FakeClock", "SequentialIds", "exported", "fold_history", "given"]

__getattr__, __dir__ = on_first_use(
    __name__,
    {"FakeClock": "kit", "SequentialIds": "kit", "exported": "exported", "fold_history": "history", "given": "kit"},
)
