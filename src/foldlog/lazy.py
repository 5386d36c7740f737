"""Names of a package that are loaded on first use (PEP 562): importing the package loads none of their modules."""

import sys
from importlib import import_module

TYPE_CHECKING = False  # as in foldlog/__init__.py: this is loaded with it
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def on_first_use(package: str, homes: "Mapping[str, str]") -> "tuple[Callable[[str], object], Callable[[], list[str]]]":
    """The `__getattr__` and `__dir__` of a package; `homes` maps each name to its module below the package."""

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return load, names
