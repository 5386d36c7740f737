"""The form of a type: what its JSON may look like, as plain values that a lock file keeps and people can read.

A type is written as in an annotation, `list[int] | None`; so is a field, with its default behind `=`. Classes stand
under their names in a table of their own, so that a type may contain itself. Text of a form is parsed, never evaluated.
"""

import ast
import keyword
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from foldlog import limits
from foldlog.errors import Invalid

SELF = "Self"
"""The name of the event or command itself in the table of its form."""
MADE = "..."
"""The default of a field whose value is made by code: it is always written."""
UNSET = "unset"
"""The default of a field that may be left out, and then has no value."""

_LENGTHS = ("min_length", "max_length")
_RANGES = ("ge", "gt", "le", "lt", "multiple_of")
_BOUNDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("any", "None", "bool", "date", "timedelta", "uuid", "decimal", "Literal", "|"), ()),
    **dict.fromkeys(("int", "float"), _RANGES),
    **dict.fromkeys(("datetime", "time"), ("tz",)),
    **dict.fromkeys(("bytes", "list", "set", "frozenset", "tuple", "dict"), _LENGTHS),
    "str": (*_LENGTHS, "pattern"),
}
_ARGUMENTS = {"list": 1, "set": 1, "frozenset": 1, "dict": 2}
STRINGS = frozenset({"str", "date", "datetime", "time", "timedelta", "uuid", "decimal", "bytes"})
"""What stands as a text in JSON."""
SETS = frozenset({"set", "frozenset"})
ARRAYS = SETS | {"list", "tuple"}
_SHOWN = 80  # characters of a bad text in a message

Bound = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Type:
    """A type: its head, what stands in its brackets (types; for a Literal values), and its bounds.

    A union has the head "|". A tuple with `many` has any number of elements of its one type.
    """

    head: str
    args: tuple[Any, ...] = ()
    bounds: tuple[tuple[str, Bound], ...] = ()
    many: bool = False

    @property
    def sides(self) -> tuple["Type", ...]:
        """The types of a union; any other type is its own one side."""
        return self.args if self.head == "|" else (self,)

    def __str__(self) -> str:
        if self.head == "|":
            return " | ".join(map(str, self.args))
        shown = [repr(one) if self.head == "Literal" else str(one) for one in self.args]
        inside = ", ".join([*shown, "..."] if self.many else shown)
        if self.head == "tuple" and not self.args:
            inside = "()"
        bounds = ", ".join(f"{name}={value!r}" for name, value in self.bounds)
        return self.head + (f"[{inside}]" if inside else "") + (f"({bounds})" if bounds else "")


@dataclass(frozen=True, slots=True)
class Field:
    """A field's type and its default: "" where it is required, `MADE`, `UNSET`, or a value as Python writes it."""

    type: Type
    default: str = ""

    def __str__(self) -> str:
        return f"{self.type} = {self.default}" if self.default else str(self.type)


@dataclass(frozen=True, slots=True)
class Object:
    """A class with fields, by their names in JSON.

    `array` is "" for JSON objects, "struct" or "tuple" for arrays in order of the fields (a tuple takes no element that
    it does not know). `tag` is a field and its fixed value, `closed` refuses unknown fields, `omits` leaves fields
    out that hold their default.
    """

    fields: Mapping[str, Field]
    tag: tuple[str, str | int] | None = None
    array: str = ""
    closed: bool = False
    omits: bool = False


@dataclass(frozen=True, slots=True)
class Values:
    """An enumeration by its values; of `flags`, several may be set at once."""

    values: tuple[str | int, ...]
    flags: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """One shape of an event or command: the table of its types (its own fields under `SELF`), and its tags."""

    types: Mapping[str, Object | Values]
    tags: tuple[str, ...] = ()

    @property
    def own(self) -> Object:
        """The fields of the event or command itself."""
        own = self.types[SELF]
        if isinstance(own, Object):
            return own
        raise AssertionError("an event or command is a class with fields")


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """A name for a class in a form's table that no type and no other class has."""
    name = re.sub("[^A-Za-z0-9_]", "_", wanted) or "_"
    name = f"_{name}" if name[0].isdigit() or name in _BOUNDS or keyword.iskeyword(name) else name
    known = {*taken, UNSET}
    number = 1
    while (found := name if number == 1 else f"{name}_{number}") in known:
        number += 1
    return found


def union(sides: Iterable[Type]) -> Type:
    """One type for these: each once, in order of their texts, None last."""
    flat = {side for one in sides for side in one.sides}
    ordered = sorted(flat, key=lambda side: (side.head == "None", str(side)))
    return ordered[0] if len(ordered) == 1 else Type("|", tuple(ordered))


def literal(values: Iterable[Any]) -> Type:
    """The type of these values alone."""
    return Type("Literal", tuple(sorted(set(values), key=lambda value: (type(value).__name__, value))))


def canonical(form: Form) -> Form:
    """The same form with its classes named by their order of appearance: equal where nothing but names differs."""
    names = {SELF: SELF}
    waiting = [SELF]
    while waiting:
        for one in _types_of(form.types[waiting.pop(0)]):
            for name in _references(one):
                if name not in names:
                    names[name] = f"T{len(names)}"
                    waiting.append(name)
    return Form({new: _renamed(form.types[old], names) for old, new in names.items()}, form.tags)


def holds_classes(type: Type) -> bool:
    """Whether a class or an enumeration stands anywhere in this type."""
    return bool(_references(type))


def _types_of(one: Object | Values) -> list[Type]:
    if isinstance(one, Values):
        return []
    fields = one.fields if one.array else dict(sorted(one.fields.items()))
    return [field.type for field in fields.values()]


def _references(type: Type) -> list[str]:
    if type.head == "Literal":
        return []
    if type.head not in _BOUNDS:
        return [type.head]
    return [name for one in type.args for name in _references(one)]


def _renamed(one: Object | Values, names: Mapping[str, str]) -> Object | Values:
    if isinstance(one, Values):
        return one
    # Two dicts are equal in any order, so that in an array the place has to stand in the name.
    places = [(f"{number}: {name}", field) for number, (name, field) in enumerate(one.fields.items())]
    fields = places if one.array else sorted(one.fields.items())
    renamed = {name: Field(_renamed_type(field.type, names), field.default) for name, field in fields}
    return Object(renamed, one.tag, one.array, one.closed, one.omits)


def _renamed_type(type: Type, names: Mapping[str, str]) -> Type:
    if type.head == "Literal":
        return type
    args = tuple(_renamed_type(one, names) for one in type.args)
    if type.head == "|":
        return union(args)
    return Type(names.get(type.head, type.head), args, type.bounds, type.many)


# ---------------------------------------------------------------- text


def parse_field(text: object, classes: Iterable[str]) -> Field:
    """A field from its text. Errors: `Invalid` for what is none, or names a class that is not in `classes`."""
    if not isinstance(text, str) or len(text) > limits.SHAPE_CHARS:
        raise Invalid(f"a field is a text of at most {limits.SHAPE_CHARS:,} characters, such as 'int | None = None'")
    try:
        body = ast.parse(f"_: {text}").body
        if len(body) != 1 or not isinstance(body[0], ast.AnnAssign):
            raise Invalid(f"{_short(text)} is no field: write a type, and ` = ` with a default behind it")
        return Field(_type(body[0].annotation, frozenset(classes)), _default(body[0].value))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise Invalid(f"{_short(text)} is no field: {error}") from error


def _default(node: ast.expr | None) -> str:
    if node is None:
        return ""
    if isinstance(node, ast.Constant) and node.value is ...:
        return MADE
    if isinstance(node, ast.Name) and node.id == UNSET:
        return UNSET
    return repr(ast.literal_eval(node))


def _type(node: ast.expr, classes: frozenset[str]) -> Type:
    bounds: tuple[tuple[str, Bound], ...] = ()
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return union((_type(node.left, classes), _type(node.right, classes)))
    if isinstance(node, ast.Call):
        if node.args:
            raise ValueError("bounds are named")
        bounds = tuple(sorted((str(one.arg), ast.literal_eval(one.value)) for one in node.keywords))
        node = node.func
    inside: list[ast.expr] = []
    if isinstance(node, ast.Subscript):
        inside = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        bare_tuple = isinstance(node.slice, ast.Tuple) and not node.slice.elts
        node = node.value
        if not inside and not bare_tuple:
            raise ValueError("empty brackets")
    head = "None" if isinstance(node, ast.Constant) and node.value is None else getattr(node, "id", "")
    return _checked(head, inside, bounds, classes)


def _checked(head: str, inside: list[ast.expr], bounds: tuple[tuple[str, Bound], ...], classes: frozenset[str]) -> Type:
    if head == "Literal" and inside:
        return literal(_value(ast.literal_eval(one)) for one in inside)
    if head not in _BOUNDS and head not in classes:
        raise ValueError(f"{head or 'this'!r} is no type, and no class of the table")
    unknown = [name for name, value in bounds if name not in _BOUNDS.get(head, ()) or type(value) not in _KINDS[name]]
    if unknown:
        raise ValueError(f"{head} has no bound {unknown[0]}, or not with such a value")
    last = inside[-1] if inside else None
    many = isinstance(last, ast.Constant) and last.value is ...  # tuple[int, ...]
    args = tuple(_type(one, classes) for one in (inside[:-1] if many else inside))
    wanted = 1 if many else _ARGUMENTS.get(head, 0)
    if head == "Literal" or (many and head != "tuple") or ((many or head != "tuple") and len(args) != wanted):
        raise ValueError(f"{head} has a wrong number of types in its brackets")
    return Type(head, args, bounds, many)


_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(_RANGES, (int, float)),
    **dict.fromkeys(_LENGTHS, (int,)),
    "pattern": (str,),
    "tz": (bool,),
}


def _value(value: object) -> bool | int | str | None:
    if value is None or isinstance(value, bool | int | str):
        return value
    raise ValueError(f"a Literal has no value {value!r}")


def _short(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
