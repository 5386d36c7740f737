"""From a class to its form: read through msgspec's own view of the type, so that nothing is told twice."""

from collections.abc import Mapping
from enum import Flag
from typing import Any

import msgspec
from msgspec import inspect

from foldlog.errors import Misconfigured
from foldlog.model.event import Stored
from foldlog.model.form import MADE, SELF, UNSET, Bound, Field, Form, Object, Type, Values, free_name, literal, union
from foldlog.model.shape import Shape, shape_of

_SCALARS: dict[type[Shape], str] = {
    inspect.AnyType: "any",
    inspect.RawType: "any",
    inspect.NoneType: "None",
    inspect.BoolType: "bool",
    inspect.IntType: "int",
    inspect.FloatType: "float",
    inspect.StrType: "str",
    inspect.BytesType: "bytes",
    inspect.ByteArrayType: "bytes",
    inspect.MemoryViewType: "bytes",
    inspect.DateTimeType: "datetime",
    inspect.TimeType: "time",
    inspect.DateType: "date",
    inspect.TimeDeltaType: "timedelta",
    inspect.UUIDType: "uuid",
    inspect.DecimalType: "decimal",
}
_MANY: dict[type[Shape], str] = {
    inspect.ListType: "list",
    inspect.SetType: "set",
    inspect.FrozenSetType: "frozenset",
    inspect.VarTupleType: "tuple",
}
_BOUNDS = ("ge", "gt", "le", "lt", "max_length", "min_length", "multiple_of", "pattern", "tz")
_EMPTY = ((list, "[]"), (tuple, "[]"), (set, "[]"), (frozenset, "[]"), (dict, "{}"))


def form_of(cls: type, mark: Stored) -> Form:
    """The form of an event, command or (boxed) state. Errors: `Misconfigured` for a type that has no form."""
    table = _Table(f"{mark.kind} {mark.name!r}")
    table.named(shape_of(cls))
    return Form(dict(table.types), mark.tags)


class _Table:
    def __init__(self, what: str) -> None:
        self.types: dict[str, Object | Values] = {}
        self._what = what
        self._names: dict[Any, str] = {}

    def named(self, shape: Any) -> str:
        """The name under which a class stands in the table; puts it there at its first appearance."""
        if shape.cls not in self._names:
            taken = self._names.values()
            name = free_name(getattr(shape.cls, "__name__", str(shape.cls)), taken) if self._names else SELF
            self._names[shape.cls] = name
            self.types[name] = self._values(shape) if isinstance(shape, inspect.EnumType) else self._object(shape)
        return self._names[shape.cls]

    def _values(self, shape: inspect.EnumType) -> Values:
        values = sorted(one.value for one in shape.cls)
        return Values(tuple(values), issubclass(shape.cls, Flag))

    def _object(self, shape: Any) -> Object:
        config = getattr(shape.cls, "__struct_config__", None)
        tag = (shape.tag_field, shape.tag) if getattr(shape, "tag_field", None) else None
        array = "tuple" if isinstance(shape, inspect.NamedTupleType) else ""
        if getattr(shape, "array_like", False):
            array = "struct"
        fields = {field.encode_name: Field(self.type(field.type), _default(field)) for field in shape.fields}
        closed = getattr(shape, "forbid_unknown_fields", False)
        return Object(fields, tag, array, closed, bool(config and config.omit_defaults and not array))

    def type(self, shape: Any) -> Type:
        """One type of a field, with whatever stands inside it."""
        match shape:
            case inspect.Metadata():
                return self.type(shape.type)
            case inspect.UnionType():
                return union(self.type(one) for one in shape.types)
            case inspect.LiteralType():
                return literal(shape.values)
            case inspect.TupleType():
                return Type("tuple", tuple(self.type(one) for one in shape.item_types))
            case inspect.DictType():
                return Type("dict", (self.type(shape.key_type), self.type(shape.value_type)), _bounds(shape))
        kind = type(shape)
        if kind in _SCALARS:
            return Type(_SCALARS[kind], (), _bounds(shape))
        if kind in _MANY:
            return Type(_MANY[kind], (self.type(shape.item_type),), _bounds(shape), many=_MANY[kind] == "tuple")
        if hasattr(shape, "fields") or isinstance(shape, inspect.EnumType):
            return Type(self.named(shape))
        raise Misconfigured(f"{self._what} holds a {kind.__name__}, whose shape a lock file cannot keep")


def _bounds(shape: Any) -> tuple[tuple[str, Bound], ...]:
    found: Mapping[str, Any] = {name: getattr(shape, name, None) for name in _BOUNDS}
    return tuple((name, value) for name, value in found.items() if value is not None)


def _default(field: inspect.Field) -> str:
    if field.required:
        return ""
    if field.default is not msgspec.NODEFAULT and not isinstance(field.default, msgspec.UnsetType):
        return repr(_as_json(field.default))
    if field.default_factory is not msgspec.NODEFAULT:
        return next((text for kind, text in _EMPTY if field.default_factory is kind), MADE)
    return UNSET


def _as_json(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        # The order of a set differs from process to process, and the members of an Enum have none.
        return sorted(map(_as_json, value), key=repr)
    return msgspec.json.decode(msgspec.json.encode(value))
