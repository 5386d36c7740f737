"""What a function does, as one short text: when the text is the same, so is the code, as far as can be told.

Looked at are bytecode, constants, defaults and closures; the functions, classes and values of modules that the code
names, and what those name in turn; the fields and methods of classes; what an object would pickle as. Names of modules
are not: the same file may be run as `__main__` and imported under its own name. Python's own library, msgspec and
Foldlog count by name, and Python by its version. What cannot be seen: files, the environment, modules imported inside
functions, attributes named at run time, code in other languages.
"""

import copyreg
import dis
import sys
import types
import weakref
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from inspect import getattr_static
from typing import Any

from foldlog import limits
from foldlog.errors import TooLarge

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))
_BY_NAME = frozenset({*sys.stdlib_module_names, "foldlog", "msgspec"})
_WEAK = (weakref.ref, weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)
# Of a class: where it stands, what Python notes for itself, and texts for people.
_PASSED_OVER = frozenset(
    [
        *("__module__", "__doc__", "__dict__", "__weakref__", "__firstlineno__", "__static_attributes__"),
        *("__slotnames__", "_abc_impl", "__annotate__", "__annotate_func__", "__annotations_cache__"),
    ]
)


def fingerprint(*things: object) -> str:
    """A digest of functions, classes and values, the same in every process that runs the same code.

    Errors: `TooLarge` where they lead to more than `limits.FINGERPRINT` others.
    """
    walk = _Walk()
    walk.say(sys.implementation.cache_tag, len(things))
    for thing in things:
        walk.refer(thing)
    return walk.digest()


class _Walk:
    """Numbers things as they are met and tells each once, in that order, so that circles end."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=16)
        self._numbers: dict[int, int] = {}
        self._met: list[Any] = []  # also keeps them alive, so that no id is used twice

    def digest(self) -> str:
        for thing in self._met:  # grows meanwhile
            self._tell(thing)
        return self._hash.hexdigest()

    def say(self, *words: object) -> None:
        for word in words:
            self._hash.update(f"{type(word).__name__}:{word!r}\n".encode(errors="surrogatepass"))

    def refer(self, thing: object) -> None:
        if type(thing) in _PLAIN:
            self.say(thing)
            return
        number = self._numbers.setdefault(id(thing), len(self._met))
        if number == len(self._met):
            if number == limits.FINGERPRINT:
                raise TooLarge(f"its code leads to more than {number:,} functions, classes and values")
            self._met.append(thing)
        self.say(f"#{number}")

    def _refer_all(self, word: str, things: Iterable[object]) -> None:
        listed = list(things)
        self.say(word, len(listed))
        for thing in listed:
            self.refer(thing)

    def _tell(self, thing: Any) -> None:
        match thing:
            case types.FunctionType():
                self._function(thing)
            case types.MethodType():
                self._refer_all("method", (thing.__func__, thing.__self__))
            case types.BuiltinFunctionType():
                owner = thing.__self__
                self._refer_all(
                    f"builtin {thing.__qualname__}", () if isinstance(owner, types.ModuleType) else (owner,)
                )
            case types.ModuleType():
                self.say(thing.__name__ if _known_by_name(thing.__name__) else "module")
            case type():
                self._class(thing)
            case property():
                self._refer_all("property", (thing.fget, thing.fset))
            case staticmethod() | classmethod():
                self._refer_all(type(thing).__name__, (thing.__func__,))
            case _:
                self._value(thing)

    def _function(self, function: types.FunctionType) -> None:
        self.say("function", function.__qualname__)
        self._refer_all("defaults", function.__defaults__ or ())
        self._mapping(function.__kwdefaults__ or {})
        self._mapping(vars(function))
        self._refer_all("closure", _cells(function))
        if not _known_by_name(function.__module__ or ""):
            self._code(function.__code__, function.__globals__, function.__doc__)

    def _code(self, code: types.CodeType, names: dict[str, Any], doc: str | None = None) -> None:
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        self.say("code", code.co_code, code.co_exceptiontable, code.co_names, arguments)
        for constant in code.co_consts:
            if constant is doc is not None:
                continue  # a text for people
            if isinstance(constant, types.CodeType):
                self._code(constant, names)
            else:
                self.refer(constant)
        for name in sorted(_globals_of(code)):
            self.say(name, name in names)
            if name in names:
                self.refer(names[name])
                self._members(names[name], code.co_names)

    def _members(self, module: object, names: tuple[str, ...]) -> None:
        """What code takes from a module that it names, and from modules inside."""
        waiting, seen = [module], set[int]()
        while waiting:
            one = waiting.pop()
            if isinstance(one, types.ModuleType) and id(one) not in seen and not _known_by_name(one.__name__):
                seen.add(id(one))
                found = {name: vars(one)[name] for name in names if name in vars(one)}
                self._mapping(found)
                waiting += found.values()

    def _class(self, cls: type) -> None:
        if _known_by_name(cls.__module__):
            self.say(f"{cls.__module__}.{cls.__qualname__}")
            return
        self._refer_all(f"class {cls.__qualname__}", cls.__bases__)
        self._refer_all("struct", (getattr(cls, name, ()) for name in ("__struct_fields__", "__struct_defaults__")))
        self._mapping({name: value for name, value in sorted(vars(cls).items()) if name not in _PASSED_OVER})

    def _mapping(self, found: Mapping[Any, Any]) -> None:
        self._refer_all("mapping", (one for item in found.items() for one in item))

    def _value(self, value: Any) -> None:
        """An object: what it holds where that is known, else what it would be pickled as, else its type."""
        self.refer(type(value))
        if isinstance(value, Enum):
            self.say(value.name)
        elif isinstance(value, set | frozenset):
            self._refer_all("set", sorted(value, key=_order))
        elif type(value) in (list, tuple):
            self._refer_all("items", value)
        elif isinstance(value, types.MappingProxyType) or type(value) is dict:
            self._mapping(value)
        elif isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType | types.WrapperDescriptorType):
            self.say(value.__name__)
        elif not isinstance(value, _WEAK):
            self._refer_all("pickled", _pickled(value))
            self.refer(getattr_static(value, "__wrapped__", None))


def _pickled(value: Any) -> list[Any]:
    try:
        known = copyreg.dispatch_table.get(type(value))
        told = known(value) if known else value.__reduce_ex__(4)
    except Exception as error:  # locks, open files, generators, and whatever a class of the user raises
        return [type(error).__name__]
    if isinstance(told, str):
        return [told]
    return [list(part) if isinstance(part, Iterator) else part for part in told]


def _cells(function: types.FunctionType) -> list[Any]:
    found: list[Any] = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not filled yet
            found.append("empty")
    return found


@lru_cache(1_024)  # every start of an app in the same process asks again
def _globals_of(code: types.CodeType) -> frozenset[str]:
    return frozenset(
        one.argval for one in dis.get_instructions(code) if one.opname.startswith(("LOAD_GLOBAL", "LOAD_NAME"))
    )


def _known_by_name(module: str) -> bool:
    return module.partition(".")[0] in _BY_NAME


def _order(value: Any) -> tuple[str, str]:
    """A place among the elements of a set that no seed of a hash moves."""
    return type(value).__qualname__, value.__qualname__ if hasattr(value, "__qualname__") else repr(value)
