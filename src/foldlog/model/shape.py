"""What a type looks like in JSON: fields that nobody asked for, types that JSON cannot hold, values that came back."""

from collections.abc import Iterator
from dataclasses import is_dataclass
from datetime import datetime, time
from typing import Any

from msgspec import inspect

from foldlog.model.event import field_names

Shape = inspect.Type
_OBJECTS = (inspect.DataclassType, inspect.StructType, inspect.TypedDictType)


def shape_of(type: Any) -> Shape:
    """The shape of a type. Errors: `NameError` and `TypeError` for annotations that msgspec cannot follow."""
    return inspect.type_info(type)


def unstorable(shape: Shape) -> str:
    """The name of a class inside this shape that cannot be stored, or ""."""
    found = (one.cls for one in _all(shape) if isinstance(one, inspect.CustomType))
    return next((cls.__name__ for cls in found if cls is not object), "")


def fault(raw: Any, shape: Shape, path: str = "$") -> str:
    """What is wrong with this JSON value, which msgspec accepts for this shape without a word, or ""."""
    if isinstance(shape, inspect.UnionType):
        return next((fault(raw, one, path) for one in shape.types if _may_be(raw, one)), "")
    if isinstance(raw, dict):
        return _fault_of_object(raw, shape, path)
    if isinstance(raw, list):
        return _fault_of_array(raw, shape, path)
    return ""


def same(value: Any, again: Any) -> bool:
    """Whether `again`, read from storage, is what `value` was.

    For where `==` says no though nothing was lost: types that compare by identity, and local times that a change of
    clocks makes ambiguous (PEP 495: they equal no time of another zone).
    """
    if isinstance(again, datetime | time) and isinstance(value, datetime | time):
        return _wall(value) == _wall(again)
    if isinstance(again, dict):
        return isinstance(value, dict) and value.keys() == again.keys() and all(same(value[k], again[k]) for k in again)
    if isinstance(again, list | tuple):
        return type(value) is type(again) and len(value) == len(again) and all(map(same, value, again))
    names = field_names(type(again))
    if names or is_dataclass(again):
        return type(value) is type(again) and all(same(getattr(value, n), getattr(again, n)) for n in names)
    return bool(value == again)


def _wall(moment: datetime | time) -> object:
    return type(moment), moment.replace(tzinfo=None), moment.utcoffset()


def _all(shape: Shape) -> Iterator[Any]:
    seen: set[int] = set()
    waiting = [shape]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen:  # a type may contain itself
            seen.add(id(one))
            waiting.extend(_parts(one))
            yield one


def _parts(shape: Any) -> list[Shape]:
    named = ("item_type", "key_type", "value_type")
    return [
        *(field.type for field in getattr(shape, "fields", ())),
        *getattr(shape, "types", ()),
        *getattr(shape, "item_types", ()),
        *(getattr(shape, name) for name in named if hasattr(shape, name)),
    ]


def _fault_of_object(raw: dict[str, Any], shape: Shape, path: str) -> str:
    if isinstance(shape, inspect.DictType):
        found = (fault(value, shape.value_type, f"{path}.{key}") for key, value in raw.items())
        return next(filter(None, found), "")
    if not isinstance(shape, _OBJECTS):
        return ""
    fields = {field.encode_name: field.type for field in shape.fields}
    tag = getattr(shape, "tag_field", None)
    for key, value in raw.items():
        if key in fields:
            if found_here := fault(value, fields[key], f"{path}.{key}"):
                return found_here
        elif key != tag:
            return f"has no field {path}.{key}"
    return ""


def _fault_of_array(raw: list[Any], shape: Any, path: str) -> str:
    types = [shape.item_type] * len(raw) if hasattr(shape, "item_type") else list(getattr(shape, "item_types", ()))
    if isinstance(shape, inspect.StructType | inspect.NamedTupleType):
        tag = [inspect.AnyType()] if getattr(shape, "tag_field", None) else []
        types = [*tag, *(field.type for field in shape.fields)]
    if len(raw) > len(types):
        return f"has no element {path}[{len(types)}]"
    pairs = zip(raw, types, strict=False)
    found = (fault(one, expected, f"{path}[{number}]") for number, (one, expected) in enumerate(pairs))
    return next(filter(None, found), "")


def _may_be(raw: Any, shape: Any) -> bool:
    """Whether this side of a union can be meant: msgspec allows one of a kind, or Structs with different tags."""
    tag = getattr(shape, "tag_field", None)
    if isinstance(raw, dict):
        return hasattr(shape, "value_type") or (
            isinstance(shape, _OBJECTS) and (tag is None or raw.get(tag) == getattr(shape, "tag", None))
        )
    if isinstance(raw, list):
        whole = not isinstance(shape, _OBJECTS) or getattr(shape, "array_like", False)
        return bool(_parts(shape)) and whole and (tag is None or raw[:1] == [shape.tag])
    return False
