"""What a type looks like in JSON: fields that nobody asked for, types that JSON cannot hold, values that came back."""

from collections.abc import Iterator
from dataclasses import is_dataclass
from datetime import datetime, time
from typing import Any

from msgspec import inspect

from foldlog.model.event import field_names

Shape = inspect.Type
_LARGE = 2**63  # msgspec reads integers beyond 64 bits exactly, but where a field says Any it makes floats of them
_OBJECTS = (inspect.DataclassType, inspect.StructType, inspect.TypedDictType)


def shape_of(type: Any) -> Shape:
    """The shape of a type. Errors: `NameError` and `TypeError` for annotations that msgspec cannot follow."""
    return inspect.type_info(type)


def unstorable(shape: Shape) -> str:
    """The name of a class inside this shape that cannot be stored, or ""."""
    return next((one.cls.__name__ for one in _all(shape) if _custom(one) and one.cls is not object), "")


def holds_anything(shape: Shape) -> bool:
    """Whether some part of it may hold any value, so that a type changes without anybody noticing."""
    return any(isinstance(one, inspect.AnyType) or _custom(one) for one in _all(shape))


def fault(raw: Any, shape: Shape, path: str = "$") -> str:
    """What is wrong with this JSON value, which msgspec accepts for this shape without a word, or ""."""
    match shape:
        case inspect.UnionType(types=types):
            faults = [fault(raw, one, path) for one in types if _may_be(raw, one)]
            return min(faults, key=len, default="")
        case inspect.AnyType() | inspect.CustomType():
            large = [one for one in _numbers(raw) if not -_LARGE <= one < 2 * _LARGE]
            return f"{path}: an integer beyond 64 bits, where any value may stand, is not kept exactly" if large else ""
    if isinstance(raw, dict):
        return _fault_of_object(raw, shape, path)
    if isinstance(raw, list):
        return _fault_of_array(raw, shape, path)
    return ""


def same(value: Any, again: Any) -> bool:
    """Whether `again`, read from storage, is what `value` was.

    Stricter than `==` about integers that became floats; and where `==` says no though nothing was lost: types that
    compare by identity, and local times that a change of clocks makes ambiguous (PEP 495: never equal elsewhere).
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
    if isinstance(again, float) and isinstance(value, int) and abs(value) >= _LARGE:
        return False
    return bool(value == again)


def _wall(moment: datetime | time) -> object:
    return type(moment), moment.replace(tzinfo=None), moment.utcoffset()


def _custom(shape: Shape) -> Any:
    return isinstance(shape, inspect.CustomType)


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
    found = (fault(one, type, f"{path}[{number}]") for number, (one, type) in enumerate(zip(raw, types, strict=False)))
    return next(filter(None, found), "")


def _may_be(raw: Any, shape: Any) -> bool:
    """Whether this side of a union can be meant: msgspec allows one of a kind, or Structs with different tags."""
    if isinstance(raw, dict):
        tag = getattr(shape, "tag_field", None)
        return isinstance(shape, (*_OBJECTS, inspect.DictType)) and (tag is None or raw.get(tag) == shape.tag)
    if isinstance(raw, list):
        tag = getattr(shape, "tag_field", None)
        whole = not isinstance(shape, _OBJECTS) or getattr(shape, "array_like", False)
        return bool(_parts(shape)) and whole and (tag is None or raw[:1] == [shape.tag])
    return False


def _numbers(raw: Any) -> Iterator[int]:
    waiting = [raw]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, int):
            yield one
