"""Random classes and random changes of them, made for real, to hold the compatibility checker against msgspec.

A plan is plain data: ("int",), ("list", plan), ("class", options, {name: (plan, default)}) and so on. `built` makes a
type of it, `changed` another plan near it.
"""

from dataclasses import field, fields, is_dataclass, make_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import count
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from foldlog.errors import Undecodable
from foldlog.model.event import Stored
from foldlog.model.formed import form_of

SCALARS = {
    "int": int,
    "small": Annotated[int, msgspec.Meta(ge=-5, le=100)],
    "positive": Annotated[int, msgspec.Meta(gt=0)],
    "float": float,
    "ratio": Annotated[float, msgspec.Meta(ge=0, lt=1)],
    "str": str,
    "short": Annotated[str, msgspec.Meta(min_length=1, max_length=3)],
    "word": Annotated[str, msgspec.Meta(pattern="^[a-z]+$")],
    "bool": bool,
    "none": None,
    "decimal": Decimal,
    "date": date,
    "datetime": datetime,
    "aware": Annotated[datetime, msgspec.Meta(tz=True)],
    "time": time,
    "timedelta": timedelta,
    "uuid": UUID,
    "bytes": bytes,
    "any": Any,
}
DEFAULTS = {"int": [0, 7], "small": [0, 7], "str": ["", "x"], "float": [0.0, 1.5], "bool": [False], "any": [None]}
NEAR = {
    "int": ["float", "decimal", "small", "positive"],
    "small": ["float", "int", "decimal", "ratio"],
    "positive": ["float", "int", "small"],
    "float": ["decimal", "int", "ratio"],
    "ratio": ["float", "decimal"],
    "str": ["short", "word", "date", "decimal", "bytes", "uuid"],
    "short": ["str", "word"],
    "word": ["str", "short"],
    **{name: ["str", "short", "float"] for name in ("date", "time", "timedelta", "uuid", "bytes", "decimal")},
    "datetime": ["aware", "str", "date"],
    "aware": ["datetime", "str"],
}
STR_VALUES, INT_VALUES = ["a", "b", "x", "red"], [0, 1, 7, 2**60]
NAMES = ["a", "b", "c", "kind"]
numbers = count()


def draw_plan(draw, depth=2):  # noqa: C901  # one case a kind of type
    kinds = ["scalar"] * 4 + ["values", "literal", "maybe"]
    if depth:
        kinds += ["list", "set", "tuple", "many", "dict", "class", "union", "numbers"]
    kind = draw(st.sampled_from(kinds))
    match kind:
        case "scalar":
            return (draw(st.sampled_from(sorted(SCALARS))),)
        case "values" | "literal":
            return kind, draw(_values(STR_VALUES) | _values(INT_VALUES))
        case "maybe":
            return "maybe", draw_plan(draw, depth - 1 if depth else 0)
        case "set":
            return "set", (draw(st.sampled_from(["int", "str", "date", "decimal"])),)
        case "list" | "many":
            return kind, draw_plan(draw, depth - 1)
        case "tuple":
            return "tuple", [draw_plan(draw, depth - 1) for _ in range(draw(st.integers(0, 2)))]
        case "dict":
            return "dict", draw(st.sampled_from(["str", "int", "date", "short"])), draw_plan(draw, depth - 1)
        case "numbers":
            return "numbers", sorted(draw(st.sets(st.sampled_from(["int", "float", "decimal", "bool"]), min_size=2)))
        case "union":
            return "union", [draw_class(draw, depth - 1, tag) for tag in draw(_values(["cat", "dog", "cow"], 2))]
    return draw_class(draw, depth - 1)


def _values(known, least=1):
    return st.lists(st.sampled_from(known), min_size=least, unique=True)


def draw_class(draw, depth=2, tag=None):
    options = {"struct": bool(tag) or draw(st.booleans())}
    if options["struct"]:
        for name in ("omits", "closed", "array"):
            options[name] = draw(st.sampled_from([False, False, False, True])) and not (name == "array" and tag)
        options["tag"] = tag or draw(st.sampled_from([None, None, "it"]))
    found = {}
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=3)):
        found[name] = draw_field(draw, depth)
    return "class", options, found


def draw_field(draw, depth):
    plan = draw_plan(draw, depth)
    return plan, draw_default(draw, plan)


def draw_default(draw, plan):
    """() for none, (value,) or ("made", value): one that a function makes."""
    known = {"maybe": [None], "list": [[]], "dict": [{}]}.get(plan[0]) or DEFAULTS.get(plan[0], [])
    if not known or draw(st.booleans()):
        return ()
    value = draw(st.sampled_from(known))
    return ("made", value) if draw(st.sampled_from([False, False, True])) else (value,)


def changed(draw, plan, depth=2):
    """A plan that differs in one place or a few, or not at all."""
    match plan:
        case ("class", options, found):
            return _changed_class(draw, options, found, depth)
        case ("maybe" | "list" | "many" | "set" as kind, inner) if draw(st.booleans()):
            return (kind, inner) if kind == "set" else (kind, changed(draw, inner, depth - 1))
        case ("maybe", inner) if draw(st.booleans()):
            return inner
        case ("list" | "many" | "set", inner):
            return draw(st.sampled_from([("list", inner), ("many", inner), ("set", ("int",))]))
        case ("tuple", inner) if inner and draw(st.booleans()):
            return "tuple", [changed(draw, one, depth - 1) for one in inner]
        case ("dict", key, inner):
            return "dict", draw(st.sampled_from([key, key, "str"])), changed(draw, inner, depth - 1)
        case ("values" | "literal", values):
            more = STR_VALUES if isinstance(values[0], str) else INT_VALUES
            others = draw(_values(more))
            merged = draw(st.sampled_from([values, others, sorted({*values, *others})]))
            return draw(st.sampled_from([("values", merged), ("literal", merged), ("str",), ("int",)]))
        case ("union", sides):
            kept = [changed(draw, one, depth - 1) for one in sides]
            return ("union", kept) if len({one[1]["tag"] for one in kept}) == len(kept) else plan
    choice = draw(st.sampled_from(["near", "near", "near", "maybe", "other", "any", "numbers"]))
    found = {"maybe": ("maybe", plan), "any": ("any",), "numbers": ("numbers", ["decimal", "float"])}.get(choice)
    if choice == "near" and plan[0] in NEAR:
        return (draw(st.sampled_from(NEAR[plan[0]])),)
    return found or draw_plan(draw, max(depth, 0))


def _changed_class(draw, options, found, depth):
    options, found = dict(options), dict(found)
    for _ in range(draw(st.integers(1, 2))):
        match draw(st.sampled_from(["field", "field", "field", "drop", "add", "default", "option"])):
            case "field" if found:
                name = draw(st.sampled_from(sorted(found)))
                plan = changed(draw, found[name][0], depth - 1)
                found[name] = plan, found[name][1] if plan == found[name][0] else draw_default(draw, plan)
            case "drop" if found:
                del found[draw(st.sampled_from(sorted(found)))]
            case "add":
                found.setdefault(draw(st.sampled_from(NAMES)), draw_field(draw, 0))
            case "default" if found:
                name = draw(st.sampled_from(sorted(found)))
                found[name] = found[name][0], draw_default(draw, found[name][0])
            case "option" if options["struct"]:
                name = draw(st.sampled_from(["omits", "closed"]))
                options[name] = not options[name]
    return "class", options, found


def built(plan):  # noqa: C901  # one case a kind of type
    """The type of a plan."""
    match plan:
        case ("maybe", inner):
            return built(inner) | None if inner[0] not in ("any", "none") else built(inner)
        case ("list", inner):
            return list[built(inner)]
        case ("many", inner):
            return tuple[built(inner), ...]
        case ("set", inner):
            return frozenset[built(inner)]
        case ("tuple", inner):
            return tuple[tuple(map(built, inner))]
        case ("dict", key, inner):
            return dict[SCALARS[key], built(inner)]
        case ("values", values):
            return Enum(f"Values{next(numbers)}", {f"V{n}": one for n, one in enumerate(values)})
        case ("literal", values):
            return Literal[tuple(values)]
        case ("numbers", names) | ("union", names):
            sides = [SCALARS[one] if isinstance(one, str) else built(one) for one in names]
            joined = sides[0]
            for side in sides[1:]:
                joined = joined | side
            return joined
        case ("class", options, found):
            return _class(options, found)
    return SCALARS[plan[0]]


def _class(options, found):
    name = f"Made{next(numbers)}"
    # Fields with defaults stand last, as Python wants them.
    ordered = sorted(found.items(), key=lambda one: bool(one[1][1]))
    if not options["struct"]:
        made = [(key, built(plan), *_dataclass_default(default)) for key, (plan, default) in ordered]
        return make_dataclass(name, made, frozen=True)
    made = [(key, built(plan), *_struct_default(default)) for key, (plan, default) in ordered]
    tag = options["tag"]
    clash = tag and "kind" in found
    return msgspec.defstruct(
        name,
        made,
        frozen=True,
        tag=tag,
        tag_field=("type" if clash else "kind") if tag else None,
        omit_defaults=options["omits"],
        forbid_unknown_fields=options["closed"],
        array_like=options["array"],
    )


def _dataclass_default(default):
    if not default:
        return ()
    value = default[-1]
    if default[0] == "made" and len(default) > 1:
        return (field(default_factory=lambda: value),)
    return (field(default_factory=type(value)),) if isinstance(value, list | dict) else (value,)


def _struct_default(default):
    if not default:
        return ()
    value = default[-1]
    if default[0] == "made" and len(default) > 1:
        return (msgspec.field(default_factory=lambda: value),)
    return (msgspec.field(default_factory=type(value)),) if isinstance(value, list | dict) else (value,)


def form(cls):
    """The form of an event of this class."""
    return form_of(cls, Stored("event", "made", 1))


def same(old, new) -> bool:
    """Whether a value that was read means what was written: as much of it as is still there."""
    names, others = _named(old), _named(new)
    if names is not None:
        if others is None:
            # JSON as it stands: what held its default may have been left out.
            left_out = isinstance(old, msgspec.Struct) and old.__struct_config__.omit_defaults
            whole = isinstance(new, dict) and (names.keys() >= new.keys() if left_out else names.keys() == new.keys())
            return whole and all(same(names[key], new[key]) for key in new)
        return all(same(value, others[name]) for name, value in names.items() if name in others)
    if isinstance(old, dict) and others is not None:
        return all(same(value, others[name]) for name, value in old.items() if name in others)
    if isinstance(old, dict):
        keys = {_key(key): value for key, value in old.items()}
        read = {_key(key): value for key, value in new.items()} if isinstance(new, dict) else {}
        return keys.keys() == read.keys() and all(same(keys[key], read[key]) for key in keys)
    if isinstance(old, list | tuple):
        return isinstance(new, list | tuple) and len(old) == len(new) and all(map(same, old, new))
    if isinstance(old, set | frozenset):
        return len(old) == len(new) and all(any(same(one, other) for other in new) for one in old)
    return msgspec.to_builtins(old) == new if isinstance(new, str) else _plain(old) == _plain(new)


def _named(value):
    if is_dataclass(value):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    if hasattr(value, "_fields"):
        return value._asdict()
    if isinstance(value, msgspec.Struct):
        names = {one.encode_name: getattr(value, one.name) for one in msgspec.structs.fields(value)}
        names = {name: one for name, one in names.items() if one is not msgspec.UNSET}
        config = value.__struct_config__
        return {config.tag_field: config.tag, **names} if config.tag is not None and not config.array_like else names
    return None


def _key(key) -> str:
    """A dict's key as JSON has it."""
    return next(iter(msgspec.json.decode(msgspec.json.encode({key: None}))))


def _plain(value) -> str:
    """A scalar as text: numbers of one value have one text, whatever their type."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, int | float | Decimal):
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        return str(int(number)) if number.is_finite() and number == number.to_integral_value() else str(number)
    found = msgspec.to_builtins(value)
    return found if isinstance(found, str) else repr(found)


def held(type):
    return make_dataclass("Held", [("value", type)], frozen=True)


def loss(writer, reader, values) -> bool:
    """Whether any of these values is not read, or as another one."""
    for value in values:
        body, stored = writer.encode(writer.decode(msgspec.json.encode({"value": value})))
        try:
            if not same(stored, reader.decode(body)):
                return True
        except Undecodable:
            return True
    return False
