"""Stored names to types: one class a name, and chains of upcasts from every older version to it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Union, get_args

import msgspec

from foldlog.errors import Invalid, Misconfigured, Rejected, Undecodable
from foldlog.model.answer import AnswerCodec
from foldlog.model.codec import Codec
from foldlog.model.event import OWN, Stored, stored, tags_of
from foldlog.model.message import Kind
from foldlog.model.process import Accepted
from foldlog.model.stream import check_name

Version = tuple[str, int]
EVENT, COMMAND, STATE = "event", "command", "state"


class Upcast:
    """One step from an old shape to a newer one: `change(old) -> new`, on the JSON object of the body.

    It leads from (`name`, `version`) to the next version, or to `to`, another (name, version), where an event was
    renamed. Commands take the same steps, since retries and dead letters keep them, and so do the states of a process,
    under the process's name. Chains are checked when the app starts. `change` is pure and gets a dict of its own.
    """

    __slots__ = ("change", "source", "target")

    def __init__(
        self, name: str, version: int, change: Callable[[dict[str, Any]], dict[str, Any]], *, to: Version | None = None
    ) -> None:
        self.source: Version = (name, version)
        self.target: Version = to or (name, version + 1)
        self.change = change
        try:
            check_name(self.source[0])
            check_name(self.target[0])
        except Invalid as error:
            raise Misconfigured(error.message) from error
        if any(type(number) is not int or number < 1 for number in (self.source[1], self.target[1])):
            raise Misconfigured(f"{self}: versions are whole numbers from 1")

    def __repr__(self) -> str:
        return f"Upcast({self.source[0]} {self.source[1]} -> {self.target[0]} {self.target[1]})"


class State(NamedTuple):
    """The state of a process: the process's name, the version of the state's shape, its type (None, which stands for no
    instance, may be in it), and how many bytes it may have."""

    name: str
    version: int
    type: Any
    most: int


Coder = Codec[Any] | AnswerCodec


class Schemas:
    """The event and command types of one app, and the states of its processes, with the codec of each."""

    def __init__(
        self,
        events: Iterable[type],
        commands: Iterable[type],
        upcasts: Iterable[Upcast],
        states: Iterable[State] = (),
    ) -> None:
        self._codecs: dict[type, tuple[Stored, Coder]] = {}
        self._categories: dict[str, set[str]] = {}
        self._events = self._by_name(events)
        self._commands = self._by_name(commands)
        self._states: dict[str, tuple[State, Codec[Any]]] = {
            one.name: (one, Codec(one.type | None, f"state of {one.name!r}", one.most)) for one in states
        }
        newest = {
            kind: {name: mark.version for name, (_, mark) in listed.items()}
            for kind, listed in ((EVENT, self._events), (COMMAND, self._commands))
        }
        newest[STATE] = {name: one.version for name, (one, _) in self._states.items()}
        self._steps, self._command_steps, self._state_steps = _steps(upcasts, newest)
        self._stored_decoders: dict[tuple[str, str, int], Callable[[bytes], Any]] = {}

    def kind(self, category: str, type: str, schema: int, encoding: str) -> Kind:
        """A Kind that decodes: the factory that engines are given."""
        self._categories.setdefault(type, set()).add(category)
        return Kind(category, type, schema, encoding, self._decoder(type, schema, encoding))

    def categories(self, names: Iterable[str]) -> frozenset[str]:
        """The categories of the streams in which events of these stored names (none: any) were met so far."""
        wanted = tuple(names) or tuple(self._categories)
        return frozenset(category for name in wanted for category in tuple(self._categories.get(name, ())))

    def names(self, types: Iterable[type]) -> tuple[str, ...]:
        """The stored names under which events of these types may stand in the log, older names included."""
        wanted = {self._mark(one).name for one in types}
        for _ in self._steps:
            wanted |= {source[0] for source, step in self._steps.items() if step.target[0] in wanted}
        return tuple(sorted(wanted))

    def upcasts(self, names: Iterable[str]) -> tuple[Upcast, ...]:
        """The steps that events under these stored names may go through."""
        wanted = frozenset(names)
        return tuple(step for source, step in sorted(self._steps.items()) if source[0] in wanted)

    def encode(self, value: Any) -> tuple[Stored, bytes, Any]:
        """(stored name and version, body, the value as it will be read). Errors: `Invalid`, `TooLarge`."""
        found = self._codecs.get(type(value))
        if found is None:
            raise Invalid(f"{type(value).__name__} is no event or command of this app: no listed part names it")
        body, again = found[1].encode(value)
        return found[0], body, again

    def tags(self, mark: Stored, value: Any) -> tuple[str, ...]:
        """The event's tags."""
        return tags_of(value, mark.tags) if mark.tags else ()

    def command_type(self, name: str) -> type:
        """The class of a command's stored name. Errors: `Invalid`."""
        if name not in self._commands:
            raise Invalid(f"unknown command {name!r}; known: {', '.join(sorted(self._commands)) or 'none'}")
        return self._commands[name][0]

    def decode_command(self, name: str, version: int, body: bytes) -> Any:
        """A command that Foldlog stored, upcast to the newest version. Errors: `Undecodable`."""
        decode = self._stored_decoders.get((COMMAND, name, version))
        if decode is None:
            decode = self._reader(COMMAND, name, version)
            self._stored_decoders[COMMAND, name, version] = decode
        return decode(body)

    def encode_state(self, name: str, value: Any) -> bytes:
        """A process's state as it is stored. Errors: `Invalid`, `TooLarge`."""
        return self._states[name][1].encode(value)[0]

    def decode_state(self, name: str, version: int, body: bytes) -> Any:
        """A stored state, upcast to the newest version. Errors: `Undecodable`."""
        decode = self._stored_decoders.get((STATE, name, version))
        if decode is None:
            decode = self._reader(STATE, name, version)
            self._stored_decoders[STATE, name, version] = decode
        return decode(body)

    def command_from_outside(self, name: str, data: bytes | str) -> Any:
        """A command from text that somebody else wrote. Errors: `Invalid`."""
        return self._codecs[self.command_type(name)][1].from_outside(data)

    def event_names(self) -> tuple[str, ...]:
        """The stored names of all listed events."""
        return tuple(sorted(self._events))

    def knows(self, name: str) -> bool:
        """Whether a stored name is that of a listed event, or of an older one that is upcast."""
        return name in self._events or any(source[0] == name for source in self._steps)

    def command_names(self) -> tuple[str, ...]:
        """The stored names of all listed commands."""
        return tuple(sorted(self._commands))

    def types(self) -> list[tuple[Stored, Any]]:
        """Every listed event and command, and every process's state: what it is stored as, and its class."""
        listed: list[tuple[Stored, Any]] = [(mark, cls) for cls, (mark, _) in self._codecs.items()]
        states = [(Stored(STATE, one.name, one.version), _boxed(one)) for one, _ in self._states.values()]
        return [one for one in listed if not one[0].name.startswith(OWN)] + states

    def leads(self, kind: str, name: str, version: int) -> Version | None:
        """The listed (name, version) that upcasts turn this version of an "event", "command" or "state" into; None for
        none."""
        known, steps = self._known(kind)
        end = _chain((name, version), steps)[1]
        return end if end[0] in known and known[end[0]][0] == end[1] else None

    def _known(self, kind: str) -> tuple[dict[str, tuple[int, Coder]], Mapping[Version, Upcast]]:
        """By stored name the newest version of a kind, and its codec; and the steps that lead there."""
        if kind == STATE:
            states = {name: (one.version, codec) for name, (one, codec) in self._states.items()}
            return dict(states), self._state_steps
        of, steps = (self._events, self._steps) if kind == EVENT else (self._commands, self._command_steps)
        return {name: (mark.version, self._codecs[cls][1]) for name, (cls, mark) in of.items()}, steps

    def _reader(self, kind: str, name: str, version: int) -> Callable[[bytes], Any]:
        known, steps = self._known(kind)
        chain, end = _chain((name, version), steps)
        if end[0] not in known:
            return _refuse(f"{kind} {name!r} version {version} is not known to this app: no listed part names its type")
        newest, codec = known[end[0]]
        if end[1] != newest:
            return _refuse(f"{kind} {name!r} has version {version}; this code knows version {newest}")
        return _upcasting(codec, chain) if chain else codec.decode

    def _mark(self, cls: type) -> Stored:
        return self._codecs[cls][0]

    def _by_name(self, classes: Iterable[type]) -> dict[str, tuple[type, Stored]]:
        found: dict[str, tuple[type, Stored]] = {}
        for cls in dict.fromkeys(classes):
            mark = stored(cls)
            if mark is None:
                raise Misconfigured(f"{cls.__name__} has no stored name: write @event('a.name') above it")
            if mark.name in found:
                other = found[mark.name][0]
                raise Misconfigured(
                    f"{mark.kind} {mark.name!r} is the stored name of two classes: {_place(other)} and {_place(cls)}"
                )
            found[mark.name] = cls, mark
            self._codecs[cls] = mark, self._coder(cls, mark)
        return found

    def _coder(self, cls: type, mark: Stored) -> Coder:
        if cls in (Accepted, Rejected):
            return AnswerCodec(cls, self.encode, self.decode_command)
        return Codec(cls, f"{mark.kind} {mark.name!r}")

    def _decoder(self, name: str, version: int, encoding: str) -> Callable[[bytes], Any]:
        if encoding != "json":
            return _refuse(f"bodies in encoding {encoding!r} cannot be read by this version of foldlog")
        return self._reader(EVENT, name, version)


def _boxed(state: State) -> type:
    """A class with a stored state in it: a state may be of any type that can be stored, and shapes are of classes."""
    kinds = [one for one in get_args(state.type) if one is not type(None)]
    several = type(None) in get_args(state.type) and kinds
    return msgspec.defstruct("State", [("state", Union[tuple(kinds)] if several else state.type)], frozen=True)  # noqa: UP007 - of a list


def _chain(start: Version, steps: Mapping[Version, Upcast]) -> tuple[list[Upcast], Version]:
    """The upcasts from a version on, and where they end."""
    chain: list[Upcast] = []
    here = start
    while here in steps:
        chain.append(steps[here])
        here = chain[-1].target
    return chain, here


def _steps(upcasts: Iterable[Upcast], newest: Mapping[str, Mapping[str, int]]) -> list[dict[Version, Upcast]]:
    """The steps of events, of commands and of states: where its chain ends says what an upcast is for."""
    steps: dict[Version, Upcast] = {}
    for step in upcasts:
        if step.source in steps:
            raise Misconfigured(f"two upcasts start at {step.source[0]!r} version {step.source[1]}")
        steps[step.source] = step
    found: dict[str, dict[Version, Upcast]] = {kind: {} for kind in newest}
    for step in steps.values():
        name, version = _end(step, steps)
        kinds = [kind for kind, versions in newest.items() if name in versions]
        if len(kinds) > 1:
            raise Misconfigured(
                f"{step} leads to {name!r}, which is the stored name of {_article(kinds[0])} and of "
                f"{_article(kinds[1])}: give one of them another name"
            )
        if not kinds or newest[kinds[0]][name] != version:
            raise Misconfigured(
                f"{step} leads to {name!r} version {version}, which is no listed event's version, and no command's"
            )
        found[kinds[0]][step.source] = step
    for kind, versions in newest.items():
        _check_complete(kind, versions, found[kind])
    return list(found.values())


def _article(kind: str) -> str:
    return {EVENT: "an event", COMMAND: "a command"}.get(kind, "a process")


def _end(step: Upcast, steps: Mapping[Version, Upcast]) -> Version:
    seen, here = {step.source}, step.target
    while here in steps:
        if here in seen:
            raise Misconfigured(f"{step} goes round in a circle")
        seen.add(here)
        here = steps[here].target
    return here


def _check_complete(kind: str, newest: Mapping[str, int], steps: Mapping[Version, Upcast]) -> None:
    for name, version in newest.items():
        missing = next((older for older in range(1, version) if (name, older) not in steps), 0)
        if missing:
            raise Misconfigured(
                f"{kind} {name!r} is at version {version}, and no Upcast starts at version {missing}: {kind}s of that "
                "version could not be read"
            )


def _refuse(why: str) -> Callable[[bytes], Any]:
    def decode(_body: bytes) -> Any:
        raise Undecodable(why)

    return decode


def _upcasting(codec: Coder, chain: list[Upcast]) -> Callable[[bytes], Any]:
    raw = msgspec.json.Decoder(dict[str, Any]).decode
    encode = msgspec.json.Encoder().encode

    def decode(body: bytes) -> Any:
        step = chain[0]
        try:
            value = raw(body)
            for step in chain:
                value = step.change(value)
            return codec.decode(encode(value))
        except Undecodable:
            raise
        except Exception as error:
            raise Undecodable(f"{step} failed: {type(error).__name__}: {error}") from error

    return decode


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
