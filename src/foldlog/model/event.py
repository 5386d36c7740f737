"""`@event` and `@command`: they turn a class into a frozen, slotted dataclass with an explicit stored name.

They register nothing. Two classes may carry the same stored name in one process; only an `App` that lists both
refuses them.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple, TypeVar, dataclass_transform

from foldlog import limits
from foldlog.errors import Invalid, Misconfigured, Rejected
from foldlog.model.stream import check_name

T = TypeVar("T")


class Stored(NamedTuple):
    """What a decorated class says of itself: `kind` is "event" or "command", `tags` the fields that are tags."""

    kind: str
    name: str
    version: int
    tags: tuple[str, ...] = ()


OWN = "foldlog."
"""What the stored names of Foldlog's own events begin with."""
ACCEPTED, REJECTED, CANCELLED, TIMED_OUT = (
    Stored("event", f"{OWN}{one}", 1) for one in ("accepted", "rejected", "cancelled", "timed-out")
)
ANSWERS = frozenset(one.name for one in (ACCEPTED, REJECTED, CANCELLED))
"""What comes back to a process without a timer."""


@dataclass_transform(frozen_default=True)
def event(name: str, *, version: int = 1, tags: tuple[str, ...] = ()) -> Callable[[type[T]], type[T]]:
    """Declare an event: an immutable fact, stored under `name` and schema `version` (from 1).

    `tags` names the fields whose values become tags `field:value`; a field that holds `None` gives no tag, one that
    holds a list or tuple gives several. The class becomes a frozen, slotted dataclass; a frozen `msgspec.Struct` or
    dataclass is taken as it is. Because slots make a new class, `super()` without arguments does not work inside.
    Errors: `Misconfigured` for a bad name, version or tag field.
    """
    return _decorator("event", name, version, tags)


@dataclass_transform(frozen_default=True)
def command(name: str, *, version: int = 1) -> Callable[[type[T]], type[T]]:
    """Declare a command: a request that a decider may accept or refuse. Commands are stored too (outbox, dead
    letters, timers), so they carry a stored name and version like an event."""
    return _decorator("command", name, version, ())


def _decorator(kind: str, name: str, version: int, tags: tuple[str, ...]) -> Callable[[type[T]], type[T]]:
    if isinstance(name, type):
        raise Misconfigured(f"write @{kind}('name'): the stored name is missing on {name.__name__}")
    try:
        stored = Stored(kind, check_name(name), version, tuple(tags))
    except Invalid as error:
        raise Misconfigured(error.message) from error
    if name.startswith(OWN):
        raise Misconfigured(f"{kind} {name!r}: names that begin with {OWN!r} are Foldlog's own")
    if type(version) is not int or not 1 <= version < 2**31:
        raise Misconfigured(f"{kind} {name!r}: the version is a whole number from 1, not {version!r}")
    if isinstance(tags, str) or len(stored.tags) > limits.TAGS or len(set(stored.tags)) != len(stored.tags):
        raise Misconfigured(f"{kind} {name!r}: tags is a tuple of at most {limits.TAGS} different field names")

    def decorate(cls: type[T]) -> type[T]:
        frozen = _frozen(cls, kind)
        missing = set(stored.tags) - set(field_names(frozen))
        if missing:
            raise Misconfigured(f"{kind} {name!r}: no field {sorted(missing)} to take a tag from")
        frozen.__foldlog__ = stored  # type: ignore[attr-defined]  # the one attribute Foldlog adds to a user's class
        return frozen

    return decorate


def _frozen(cls: type[T], kind: str) -> type[T]:
    config = getattr(cls, "__struct_config__", None)
    if config is not None:
        if not config.frozen:
            raise Misconfigured(f"{kind} {cls.__name__} is a Struct that can change: write frozen=True")
        return cls
    params = cls.__dict__.get("__dataclass_params__")
    if params is None:
        return dataclass(frozen=True, slots=True)(cls)
    if not params.frozen:
        raise Misconfigured(
            f"{kind} {cls.__name__} is a dataclass that can change: write frozen=True, or no @dataclass"
        )
    return cls


def stored(cls: object) -> Stored | None:
    """What `@event` or `@command` wrote on this very class (a subclass does not inherit it), or None."""
    if cls is Rejected:  # as a process hears of it
        return REJECTED
    found = cls.__dict__.get("__foldlog__") if isinstance(cls, type) else None
    return found if isinstance(found, Stored) else None


def field_names(cls: type) -> tuple[str, ...]:
    """The fields of a dataclass or Struct, in order."""
    if is_dataclass(cls):
        return tuple(field.name for field in fields(cls))
    names: tuple[str, ...] = getattr(cls, "__struct_fields__", ())
    return names


def tags_of(value: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    """The tags `field:value` of an event, without repetition, in order of the fields."""
    found: dict[str, None] = {}
    for name in names:
        part = getattr(value, name)
        for one in part if isinstance(part, list | tuple | set | frozenset) else (part,):
            if one is not None:
                found[f"{name}:{getattr(one, 'value', one)}"] = None
    if len(found) > limits.TAGS:
        raise Invalid(f"an event has at most {limits.TAGS} tags, this {type(value).__name__} has {len(found)}")
    return tuple(found)
