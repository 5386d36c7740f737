"""Which events a function takes, read from the annotation of its parameter as `functools.singledispatch` does."""

import types
import typing
from collections.abc import Callable
from functools import partial
from inspect import Parameter, signature, unwrap
from typing import Any, NamedTuple, Union, get_args, get_origin

from foldlog.errors import Misconfigured
from foldlog.model.event import stored
from foldlog.model.message import Recorded


class Takes(NamedTuple):
    """The event classes a function takes (empty: every event), whether it wants them as `Recorded`, and as a list."""

    types: tuple[type, ...]
    recorded: bool
    listed: bool = False


def parameters(function: Callable[..., Any]) -> list[Parameter]:
    """The positional parameters of a user's function."""
    return [one for one in signature(function).parameters.values() if one.kind in _POSITIONAL]


_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class Hints(dict[str, Any]):
    """Resolved annotations; asking for one that cannot be resolved raises `Misconfigured` with the cure."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def __getitem__(self, name: str) -> Any:
        found = super().__getitem__(name)
        if isinstance(found, _Unresolved):
            raise Misconfigured(
                f"{self._what}: {found.error}. Its annotations cannot be resolved: define the class at module level "
                "and import it for real (not under TYPE_CHECKING), or name the events with on="
            ) from found.error
        return found

    def get(self, name: str, default: Any = None) -> Any:
        if name not in self:
            return default
        return self[name]


class _Unresolved(NamedTuple):
    error: Exception


def hints(function: Callable[..., Any], what: str) -> Hints:
    """The annotations of a function, each resolved by itself, so that `on=` can stand for one that cannot be."""
    plain = _plain(function)
    found = Hints(what)
    for name, annotation in getattr(plain, "__annotations__", {}).items():
        alone = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            found.update(typing.get_type_hints(alone, getattr(plain, "__globals__", {})))
        except (NameError, AttributeError, TypeError, SyntaxError) as error:
            found[name] = _Unresolved(error)
    return found


def _plain(function: Any) -> Any:
    """The function that carries the annotations of a partial, a wrapper or an object with `__call__`."""
    while isinstance(function, partial):
        function = function.func
    return unwrap(function if hasattr(function, "__code__") else type(function).__call__)


def taken(
    function: Callable[..., Any], index: int, what: str, kind: str, on: Any = None, *, lists: bool = False
) -> Takes:
    """What parameter number `index` is annotated with, or what `on` says instead.

    `kind` is "event" or "command". `Recorded` alone takes every event, undecoded. `lists` says that `list[...]` of all
    that is allowed too. Errors: `Misconfigured`.
    """
    names = parameters(function)
    if len(names) <= index:
        raise Misconfigured(f"{what} takes too few parameters: {kind} is parameter number {index + 1}")
    name = names[index].name
    annotation: Any = on
    if on is None:
        annotation = hints(function, what).get(name)
        if annotation is None:
            raise Misconfigured(f"{what}: annotate parameter {name!r} with its {kind}s, or write on=")
    listed = lists and (_is_written(function, name, list) if on is not None else get_origin(annotation) is list)
    if listed and on is None:
        annotation = get_args(annotation)[0]
    recorded = False
    if annotation is Recorded or get_origin(annotation) is Recorded:
        recorded = True
        annotation = get_args(annotation)[0] if get_args(annotation) else Any
        if annotation is Any:
            return Takes((), recorded, listed)
    elif on is not None:
        recorded = _is_written(function, name, Recorded, inside=listed)
    where = what if on is not None else f"{what}, parameter {name!r} (number {index + 1})"
    return Takes(_named(annotation, where, kind), recorded, listed)


def _named(annotation: Any, what: str, kind: str) -> tuple[type, ...]:
    found = tuple(_members(annotation))
    for one in found:
        if (mark := stored(one)) is None or mark.kind != kind:
            shown = getattr(one, "__name__", one)
            if mark is not None:
                raise Misconfigured(
                    f"{what}: {shown} is no {kind} but the {mark.kind} {mark.name!r}: name {kind}s here"
                )
            raise Misconfigured(f"{what}: {shown} is no {kind}: write @{kind}('a.name') above the class")
    if not found:
        raise Misconfigured(f"{what} takes no {kind}")
    return found


def keyed_by_envelope(key: Callable[..., Any], what: str) -> bool:
    """Whether `key` gets the event as `Recorded`: only where it says so. A lambda gets the event alone."""
    names = parameters(key)
    said = getattr(key, "__annotations__", {}).get(names[0].name, Any) if names else Any
    if said in (Any, "Any"):
        return False
    return taken(key, 0, f"key of {what}", "event").recorded


def wants(function: Callable[..., Any], index: int, annotation: type, what: str) -> bool:
    """Whether the function has a parameter number `index`; if so it must be annotated with `annotation` or nothing."""
    names = parameters(function)
    if len(names) <= index:
        return False
    found = hints(function, what).get(names[index].name, annotation)
    if found is not annotation:
        raise Misconfigured(f"{what}: parameter {names[index].name!r} can only be a {annotation.__name__}")
    return True


def _is_written(function: Callable[..., Any], name: str, wanted: type, *, inside: bool = False) -> bool:
    """Whether the annotation is `wanted[...]`, or `inside` a list of it, even where it cannot be resolved."""
    annotation = getattr(_plain(function), "__annotations__", {}).get(name)
    if isinstance(annotation, str):
        text = annotation.partition("[")[2] if inside else annotation
        return text.partition("[")[0].strip("] ").rpartition(".")[2].lower() == wanted.__name__.lower()
    if inside:
        annotation = (*get_args(annotation), None)[0]
    return annotation is wanted or get_origin(annotation) is wanted


def _members(annotation: Any) -> list[Any]:
    if isinstance(annotation, tuple | list):
        return [member for one in annotation for member in _members(one)]
    if isinstance(annotation, getattr(typing, "TypeAliasType", ())):  # Python 3.12's `type X = A | B`
        alias: Any = annotation
        return _members(alias.__value__)
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for one in get_args(annotation) for member in _members(one)]
    return [annotation]
