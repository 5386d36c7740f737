"""Whether code of one form reads everything that code of another form has written, as the same values.

The rules are those of strict decoding, and no wider: where a rule is in doubt, the answer is no. Unknown fields are
passed over, numbers never become texts, nothing is rounded, and what is left out must have the same default.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from foldlog.model.form import (
    ARRAYS,
    MADE,
    SETS,
    STRINGS,
    UNSET,
    Form,
    Object,
    Type,
    Values,
    canonical,
    holds_classes,
    literal,
)

MISSING, TYPE, VALUES, UNKNOWN, DEFAULT, TAG = "missing", "type", "values", "unknown", "default", "tag"
_SHOWN = 5  # values in one message
_EXACT = 2**53  # whole numbers up to here are the same as floats
_KINDS = {"None": "null", "bool": "bool", "int": "int", "float": "float", "dict": "object"}
_KINDS |= dict.fromkeys(STRINGS, "text") | dict.fromkeys(ARRAYS, "array")


class Gap(NamedTuple):
    """Something that was written and is not read: where (`$.home.street`), of which sort, and why."""

    path: str
    sort: str
    why: str


def gaps(reader: Form, writer: Form) -> list[Gap]:
    """What a reader of one form cannot read of what a writer of the other has written; [] where it reads all."""
    if canonical(reader) == canonical(writer):
        return []
    reading = _Reading(reader, writer)
    reading.objects(reader.own, writer.own, "$")
    return list(dict.fromkeys(reading.found))


class _Reading:
    """One comparison. Pairs of classes that are being compared are taken to fit: a type may contain itself."""

    def __init__(self, reader: Form, writer: Form) -> None:
        self._reader, self._writer = reader.types, writer.types
        self._seen: set[tuple[int, int]] = set()
        self.found: list[Gap] = []

    def objects(self, reader: Object, writer: Object, path: str) -> None:
        """Two classes with fields."""
        if (id(reader), id(writer)) in self._seen:
            return
        self._seen.add((id(reader), id(writer)))
        if reader.array != writer.array:
            self._gap(path, TYPE, f"was written as {_layout(writer)}, is read as {_layout(reader)}")
        elif reader.array:
            self._arrays(reader, writer, path)
        else:
            self._tag(reader, writer, path)
            self._fields(reader, writer, path)

    def _fields(self, reader: Object, writer: Object, path: str) -> None:
        for name, field in reader.fields.items():
            here = f"{path}.{name}"
            written = writer.fields.get(name)
            if written is not None:
                self.types(field.type, written.type, here)
                left_out = writer.omits and written.default not in ("", MADE, UNSET)
                if (left_out or written.default == UNSET) and not field.default:
                    self._gap(here, MISSING, "may have been left out, and has no default")
                elif left_out and field.default != written.default:
                    self._gap(here, DEFAULT, f"was left out where it was {written.default}; now that is another value")
            elif not field.default and not (writer.tag and writer.tag[0] == name):
                self._gap(here, MISSING, "was never written, and has no default")
        if reader.closed:
            for name in writer.fields.keys() - reader.fields.keys():
                self._gap(f"{path}.{name}", UNKNOWN, "was written, and the class forbids unknown fields")

    def _tag(self, reader: Object, writer: Object, path: str) -> None:
        if reader.tag is not None:
            if reader.tag != writer.tag:
                self._gap(path, TAG, f"is read by the tag {_tag(reader)}, and was written with {_tag(writer)}")
        elif writer.tag is not None:
            field, value = writer.tag
            if known := reader.fields.get(field):
                self.types(known.type, literal([value]), f"{path}.{field}")
            elif reader.closed:
                self._gap(f"{path}.{field}", UNKNOWN, "was written as a tag, and the class forbids unknown fields")

    def _arrays(self, reader: Object, writer: Object, path: str) -> None:
        """Classes written as arrays: the place is what names a field."""
        if reader.tag != writer.tag:
            self._gap(path, TAG, f"is read by the tag {_tag(reader)}, and was written with {_tag(writer)}")
        ours, theirs = list(reader.fields.items()), list(writer.fields.items())
        for number, ((name, field), (before, written)) in enumerate(zip(ours, theirs, strict=False)):
            here = f"{path}[{number}]"
            if name != before:
                self._gap(here, TYPE, f"was the place of {before!r}, is now that of {name!r}")
            if UNSET in (field.default, written.default):
                self._gap(here, MISSING, "may have been left out, so that the places no longer tell which is which")
            self.types(field.type, written.type, f"{here} ({name})")
        for number, (name, field) in enumerate(ours[len(theirs) :], len(theirs)):
            if not field.default:
                self._gap(f"{path}[{number}] ({name})", MISSING, "was never written, and has no default")
        if len(theirs) > len(ours) and (reader.closed or reader.array == "tuple"):
            self._gap(f"{path}[{len(ours)}]", UNKNOWN, "was written, and the class takes no further element")

    def types(self, reader: Type, writer: Type, path: str) -> None:
        """Every side of the writer's type must be read."""
        if any(side.head == "any" for side in reader.sides):
            return
        for side in writer.sides:
            if side.head in ("Literal", "None"):
                self._values(reader, side.args or (None,), path)
            elif isinstance(known := self._writer.get(side.head), Values) and not known.flags:
                self._values(reader, known.values, path)
            else:
                self._side(reader, side, path)

    def _values(self, reader: Type, values: Sequence[Any], path: str) -> None:
        lost = [value for value in values if not any(self._takes(side, value) for side in self._meant(reader, value))]
        if lost:
            shown = ", ".join(map(repr, lost[:_SHOWN])) + (", ..." if len(lost) > _SHOWN else "")
            self._gap(path, VALUES, f"{shown} cannot be read as {reader}")

    def _meant(self, reader: Type, value: Any) -> list[Type]:
        kind = "null" if value is None else {bool: "bool", int: "int", str: "text"}[type(value)]
        return self._candidates(reader, kind)

    def _takes(self, side: Type, value: Any) -> bool:
        """Whether a side that is meant for this kind of value takes this very value."""
        if side.head == "Literal":
            return any(value == one and type(value) is type(one) for one in side.args)
        if isinstance(known := self._reader.get(side.head), Values):
            return value in known.values
        if value is None or isinstance(value, bool):
            return True
        if isinstance(value, str):
            return side.head == "str" and _text_fits(value, dict(side.bounds))
        if side.head == "float":
            return abs(value) <= _EXACT and not side.bounds
        return side.head == "decimal" or _implied(side, {"ge": value, "le": value})

    def _candidates(self, reader: Type, kind: str) -> list[Type]:
        """The sides that a JSON value of this kind may be meant for: its own kind first, as the decoder does."""
        own = [side for side in reader.sides if kind in self._kinds(side, self._reader)]
        if own or kind not in ("int", "float"):
            return own
        # Without a type of its own a whole number is read as a float, and any number as a Decimal.
        wider = ("float", "decimal") if kind == "int" else ("decimal",)
        return [side for head in wider for side in reader.sides if side.head == head][:1]

    def _kinds(self, side: Type, table: Any) -> set[str]:
        if side.head == "Literal":
            return {"null" if one is None else {bool: "bool", int: "int", str: "text"}[type(one)] for one in side.args}
        known = table.get(side.head)
        if isinstance(known, Values):
            return {"int" if isinstance(known.values[0], int) else "text"} if known.values else set()
        if isinstance(known, Object):
            return {"array" if known.array else "object"}
        return {_KINDS[side.head]} if side.head in _KINDS else set()

    def _side(self, reader: Type, writer: Type, path: str) -> None:
        if writer in reader.sides and not holds_classes(writer):
            return
        kinds = self._kinds(writer, self._writer)
        meant = self._candidates(reader, next(iter(kinds))) if kinds else []
        written = self._writer.get(writer.head)
        if isinstance(written, Object) and not written.array:
            meant = self._of_tag(meant, written)
        if not meant:
            self._gap(path, TYPE, f"{writer} cannot be read as {reader}")
        for side in meant:
            self._pair(side, writer, path)

    def _of_tag(self, meant: list[Type], writer: Object) -> list[Type]:
        """Of several classes in a union the tag says which one."""
        if len(meant) <= 1:
            return meant
        known = [(side, self._reader.get(side.head)) for side in meant]
        return [side for side, one in known if isinstance(one, Object) and one.tag == writer.tag]

    def _pair(self, reader: Type, writer: Type, path: str) -> None:
        """Two types of one kind, neither of them a union."""
        ours, theirs = self._reader.get(reader.head), self._writer.get(writer.head)
        if isinstance(ours, Object) and isinstance(theirs, Object):
            self.objects(ours, theirs, path)
        elif isinstance(theirs, Object) and not theirs.array and reader.head == "dict":
            self._opened(reader, theirs, path)
        elif isinstance(theirs, Values):
            self._flags(reader, theirs, path)
        elif ours is not None or theirs is not None:
            self._gap(path, TYPE, f"{writer} cannot be read as {reader}")
        elif writer.head in ARRAYS:
            self._elements(reader, writer, path)
        elif writer.head == "dict":
            self._keys(reader.args[0], writer.args[0], path)
            self.types(reader.args[1], writer.args[1], f"{path}[...]")
            self._bounded(reader, writer, path)
        elif not _scalar_fits(reader, writer):
            self._gap(path, TYPE, f"{writer} cannot be read as {reader}")

    def _flags(self, reader: Type, writer: Values, path: str) -> None:
        """Flags that may be set together: a whole number."""
        bits = [one for one in writer.values if isinstance(one, int)]
        written = Type("int", (), (("ge", 0), ("le", sum(bits))))
        ours = self._reader.get(reader.head)
        known = isinstance(ours, Values) and ours.flags and set(bits) <= set(ours.values)
        if not known and (ours is not None or not _scalar_fits(reader, written)):
            self._gap(path, VALUES, f"flags that are set together cannot be read as {reader}")

    def _opened(self, reader: Type, writer: Object, path: str) -> None:
        """A class that is now read as a dict."""
        if reader.args[0].head not in ("str", "any") or reader.args[0].bounds or reader.bounds:
            self._gap(path, TYPE, f"a class with fields cannot be read as {reader}")
        for name, field in writer.fields.items():
            self.types(reader.args[1], field.type, f"{path}.{name}")
            if writer.omits and field.default not in ("", MADE, UNSET):
                self._gap(f"{path}.{name}", MISSING, "may have been left out, and a dict has no default for it")
        if writer.tag:
            self.types(reader.args[1], literal([writer.tag[1]]), f"{path}.{writer.tag[0]}")

    def _keys(self, reader: Type, writer: Type, path: str) -> None:
        if reader.head in ("str", "any") and not reader.bounds:
            return
        known = self._writer.get(writer.head)
        values = known.values if isinstance(known, Values) and not known.flags else writer.args
        if values and all(isinstance(one, str) for one in values):
            fits = all(self._takes(reader, one) for one in values)
        elif known is not None or reader.args or writer.args:
            fits = known is not None and self._reader.get(reader.head) == known
        else:
            fits = reader.head == writer.head and _scalar_fits(reader, writer)
        if not fits:
            self._gap(path, TYPE, f"keys of type {writer} cannot be read as {reader}")

    def _elements(self, reader: Type, writer: Type, path: str) -> None:
        fixed, was_fixed = (one.head == "tuple" and not one.many for one in (reader, writer))
        if fixed or was_fixed:
            items = writer.args if was_fixed else None
            if items is None or (fixed and len(items) != len(reader.args)) or reader.head in SETS:
                self._gap(path, TYPE, f"{writer} cannot be read as {reader}")
                return
            ours = reader.args if fixed else reader.args * len(items)
            for number, (item, written) in enumerate(zip(ours, items, strict=True)):
                self.types(item, written, f"{path}[{number}]")
            if not _implied(reader, {"min_length": len(items), "max_length": len(items)}):
                self._gap(path, TYPE, f"{writer} cannot be read as {reader}")
            return
        if reader.head in SETS and (writer.head not in SETS or self._may_merge(reader.args[0], writer.args[0])):
            self._gap(path, TYPE, f"{writer} cannot be read as {reader}: elements that were different may become one")
        self.types(reader.args[0], writer.args[0], f"{path}[]")
        self._bounded(reader, writer, path)

    def _may_merge(self, reader: Type, writer: Type) -> bool:
        return reader != writer or holds_classes(reader)

    def _bounded(self, reader: Type, writer: Type, path: str) -> None:
        if not _implied(reader, dict(writer.bounds)):
            self._gap(path, TYPE, f"{writer} cannot be read as {reader}")

    def _gap(self, path: str, sort: str, why: str) -> None:
        self.found.append(Gap(path, sort, why))


def _scalar_fits(reader: Type, writer: Type) -> bool:
    bounds = dict(writer.bounds)
    if reader.head == writer.head == "int":
        return _implied(_closed(reader), dict(_closed(writer).bounds))
    if reader.head == writer.head:
        return _implied(reader, bounds)
    if writer.head == "int" and reader.head == "float":
        low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
        exact = low is not None and high is not None and float(low) >= -_EXACT and float(high) <= _EXACT
        return exact and not reader.bounds
    if writer.head in ("int", "float") and reader.head == "decimal":
        return True
    return reader.head == "str" and writer.head in STRINGS and not reader.bounds


def _closed(whole: Type) -> Type:
    """Whole numbers above 0 are those from 1 on."""
    bounds: dict[str, Any] = dict(whole.bounds)
    if "gt" in bounds:
        above = bounds.pop("gt") + 1
        bounds["ge"] = max(above, bounds.get("ge", above))
    if "lt" in bounds:
        below = bounds.pop("lt") - 1
        bounds["le"] = min(below, bounds.get("le", below))
    return Type("int", (), tuple(bounds.items()))


def _implied(reader: Type, written: dict[str, Any]) -> bool:
    """Whether every bound of the reader holds for all that was written within these bounds."""
    for name, bound in reader.bounds:
        value: Any = bound
        match name:
            case "ge":
                held = max((written[one] for one in ("ge", "gt") if one in written), default=None)
                fits = held is not None and held >= value
            case "gt":
                fits = written.get("gt", value - 1) >= value or written.get("ge", value) > value
            case "le":
                held = min((written[one] for one in ("le", "lt") if one in written), default=None)
                fits = held is not None and held <= value
            case "lt":
                fits = written.get("lt", value + 1) <= value or written.get("le", value) < value
            case "min_length":
                fits = written.get(name, 0) >= value
            case "max_length":
                fits = written.get(name, value + 1) <= value
            case _:
                fits = written.get(name) == value
        if not fits:
            return False
    return True


def _text_fits(text: str, bounds: dict[str, Any]) -> bool:
    long_enough = bounds.get("min_length", 0) <= len(text) <= bounds.get("max_length", len(text))
    return long_enough and re.search(bounds.get("pattern", ""), text) is not None


def _layout(one: Object) -> str:
    return f"an array ({one.array})" if one.array else "an object"


def _tag(one: Object) -> str:
    return "none" if one.tag is None else f"{one.tag[0]} {one.tag[1]!r}"
