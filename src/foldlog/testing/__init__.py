"""What makes a system built on Foldlog easy to test, and the contract suites that adapters are proved with."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foldlog.testing.exported import exported
    from foldlog.testing.history import fold_history
    from foldlog.testing.kit import FakeClock, SequentialIds, given

__all__ = ["FakeClock", "SequentialIds", "exported", "fold_history", "given"]
_HOME = {"exported": "exported", "fold_history": "history"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'foldlog.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"foldlog.testing.{_HOME.get(name, 'kit')}"), name)
    return value
