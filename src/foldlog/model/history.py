"""The lock file: every shape of every event and command that was ever shipped, kept under its name and version.

One version may have several shapes: those that came to it one after the other, each of which the code still reads. The
file is JSON, sorted, one field a line, so that a review shows what a change does to what is stored.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from foldlog import limits
from foldlog.errors import Invalid, TooLarge
from foldlog.model.codec import parse_json
from foldlog.model.form import SELF, Field, Form, Object, Values, free_name, parse_field
from foldlog.model.stream import check_name

FILE = "foldlog.lock.json"
"""The usual name of the file, beside the app."""
FORMAT = 1
_ABOUT = "Every event and command shape ever shipped. Written by `foldlog schema APP lock`; commit it with the code."
_SECTIONS = {"event": "events", "command": "commands", "state": "states"}
_ALWAYS = ("events", "commands")
_MERGE = re.compile(rb"^(<{7}|={7}|>{7}|\|{7})( |\r?$)", re.MULTILINE)
_NEWER = "2147483648"  # versions stay below
_FORM_KEYS = {"array", "classes", "closed", "fields", "given_up", "omits", "tag", "tags"}


class Key(NamedTuple):
    """What a shape is kept under: "event", "command" or (of a process) "state", stored name, version."""

    kind: str
    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.kind} {self.name} version {self.version}"


class Kept(NamedTuple):
    """One shape of one version. `given_up`: somebody has said that none of it is stored anywhere any more."""

    form: Form
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """All shapes, in the order in which they were shipped."""

    kept: Mapping[Key, tuple[Kept, ...]]

    def live(self, key: Key) -> tuple[Form, ...]:
        """The shapes of a version of which something may be stored."""
        return tuple(one.form for one in self.kept.get(key, ()) if not one.given_up)


def read_history(data: bytes) -> History:
    """A lock file's content. Errors: `Invalid` for what is none, with the place and what to do; `TooLarge`."""
    if len(data) > limits.LOCK_BYTES:
        raise TooLarge(f"a lock file has at most {limits.LOCK_BYTES:,} bytes, not {len(data):,}")
    if _MERGE.search(data):
        raise Invalid(
            "the lock file holds the marks of a merge that was not finished: keep the shapes of both sides, remove "
            "the marks, and run `foldlog schema APP lock`"
        )
    try:
        raw = parse_json(data)
    except Invalid as error:
        raise Invalid(f"the lock file is {error.message}: take it from version control again") from error
    top = _object(raw, "the lock file")
    number = top.get("format")
    if type(number) is not int or number < 1:
        raise Invalid("this is no lock file of Foldlog: it says no format")
    if number > FORMAT:
        raise Invalid(f"the lock file is of format {number}, this foldlog reads {FORMAT}: install a newer foldlog")
    _only(top, {"about", "format", *_SECTIONS.values()}, "the lock file")
    found: dict[Key, tuple[Kept, ...]] = {}
    for kind, section in _SECTIONS.items():
        for name, versions in _object(top.get(section, {}), section).items():
            check_name(name)
            for version, shapes in _object(versions, f"{kind} {name}").items():
                key = Key(kind, name, _version(version, f"{kind} {name}"))
                found[key] = _shapes(shapes, str(key))
    return History(found)


def write_history(history: History) -> bytes:
    """A lock file's content, the same bytes for the same shapes. Errors: `TooLarge`, `Invalid` for too long a field."""
    sections: dict[str, dict[str, dict[str, Any]]] = {section: {} for section in _SECTIONS.values()}
    for key in sorted(history.kept):
        versions = sections[_SECTIONS[key.kind]].setdefault(key.name, {})
        versions[str(key.version)] = [_form_json(one) for one in history.kept[key]]
    shown = {name: found for name, found in sections.items() if found or name in _ALWAYS}
    content = json.dumps({"about": _ABOUT, "format": FORMAT, **shown}, indent=2).encode() + b"\n"
    if read_history(content) != history:
        raise AssertionError("a lock file that would not be read as it was written")
    return content


def _form_json(kept: Kept) -> dict[str, Any]:
    form = kept.form
    shown = _object_json(form.own)
    if form.tags:
        shown["tags"] = list(form.tags)
    if classes := {name: one for name, one in sorted(form.types.items()) if name != SELF}:
        shown["classes"] = {
            name: _values_json(one) if isinstance(one, Values) else _object_json(one) for name, one in classes.items()
        }
    return {"given_up": True, **shown} if kept.given_up else shown


def _values_json(one: Values) -> dict[str, Any]:
    return {"flags": True, "values": list(one.values)} if one.flags else {"values": list(one.values)}


def _object_json(one: Object) -> dict[str, Any]:
    shown: dict[str, Any] = {"array": one.array} if one.array else {}
    if one.closed:
        shown["closed"] = True
    if one.array:
        shown["fields"] = [[name, str(field)] for name, field in one.fields.items()]
    else:
        shown["fields"] = {name: str(field) for name, field in sorted(one.fields.items())}
    if one.omits:
        shown["omits"] = True
    if one.tag:
        shown["tag"] = list(one.tag)
    return shown


def _shapes(raw: Any, where: str) -> tuple[Kept, ...]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= limits.LOCK_SHAPES:
        raise Invalid(f"{where}: write a list of 1 to {limits.LOCK_SHAPES:,} shapes")
    return tuple(_kept(one, f"{where}, shape {number}") for number, one in enumerate(raw, 1))


def _kept(raw: Any, where: str) -> Kept:
    shown = _object(raw, where)
    _only(shown, _FORM_KEYS, where)
    tags = shown.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(one, str) for one in tags) or len(tags) > limits.TAGS:
        raise Invalid(f"{where}: tags is a list of at most {limits.TAGS} names of fields")
    classes = _object(shown.get("classes", {}), f"{where}, classes")
    for name in classes:
        if name == SELF or free_name(name, ()) != name:
            raise Invalid(f"{where}: {name!r} is no name for a class")
    known = {*classes, SELF}
    own = {name: value for name, value in shown.items() if name not in ("classes", "tags", "given_up")}
    types: dict[str, Object | Values] = {SELF: _one_object(own, known, where)}
    for name, one in classes.items():
        here = f"{where}, class {name}"
        is_values = "values" in _object(one, here)
        types[name] = _values(one, here) if is_values else _one_object(one, known, here)
    return Kept(Form(types, tuple(tags)), _flag(shown, "given_up", where))


def _values(raw: dict[str, Any], where: str) -> Values:
    _only(raw, {"flags", "values"}, where)
    values = raw["values"]
    if not isinstance(values, list) or {type(one) for one in values} not in (set(), {int}, {str}):
        raise Invalid(f"{where}: values is a list of texts, or of whole numbers")
    return Values(tuple(values), _flag(raw, "flags", where))


def _one_object(raw: dict[str, Any], classes: set[str], where: str) -> Object:
    _only(raw, {"array", "closed", "fields", "omits", "tag"}, where)
    array, tag, fields = raw.get("array", ""), raw.get("tag"), raw.get("fields")
    if array not in ("", "struct", "tuple"):
        raise Invalid(f"{where}: array is 'struct' or 'tuple'")
    if tag is not None and not (isinstance(tag, list) and [type(one) for one in tag] in ([str, str], [str, int])):
        raise Invalid(f"{where}: tag is a field and its value")
    pairs: Any = fields if array else _object(fields, f"{where}, fields").items()
    if not isinstance(pairs, list) and array:
        raise Invalid(f"{where}: the fields of an array are a list of pairs")
    found: dict[str, Field] = {}
    for pair in pairs:
        if not _is_pair(pair) or not isinstance(pair[0], str) or pair[0] in found:
            raise Invalid(f"{where}: a field is a name and a text, and each name stands once")
        try:
            found[pair[0]] = parse_field(pair[1], classes)
        except Invalid as error:
            raise Invalid(f"{where}, field {pair[0]!r}: {error.message}") from error
    closed, omits = (_flag(raw, name, where) for name in ("closed", "omits"))
    return Object(found, (tag[0], tag[1]) if tag else None, array, closed, omits)


def _is_pair(raw: Any) -> bool:
    return isinstance(raw, list | tuple) and len(raw) == len(("name", "text"))


def _object(raw: Any, where: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise Invalid(f"{where} must be a JSON object")
    return raw


def _only(raw: dict[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(raw.keys() - known):
        raise Invalid(f"{where}: unknown entry {unknown[0]!r}: is the file of a newer foldlog, or edited by hand?")


def _flag(raw: dict[str, Any], name: str, where: str) -> bool:
    found = raw.get(name, False)
    if not isinstance(found, bool):
        raise Invalid(f"{where}: {name} is true or false")
    return found


def _version(text: str, where: str) -> int:
    if not (text.isascii() and text.isdecimal() and text[0] != "0" and (len(text), text) < (len(_NEWER), _NEWER)):
        raise Invalid(f"{where}: {text[:20]!r} is no version: whole numbers from 1")
    return int(text)
