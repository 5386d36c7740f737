"""Random JSON bodies of a form: what code of that shape may have written."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from foldlog.model.form import MADE, SELF, UNSET, Form, Object, Type, Values

Body = Any
_LONGEST = 4  # elements of a list where no bound says more: shapes are tried in number, not in size
_TEXT = st.characters(exclude_categories=["Cs"])
_ZONES = st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30)), timezone(timedelta(hours=14))])
_SECONDS = 1_000 * 86_400  # of a timedelta


def bodies(form: Form, *, extreme: bool = False) -> SearchStrategy[Body]:
    """JSON values of the events or commands of this form.

    Where the form has no bounds, numbers and times are such that folds may add some of them up: whole numbers within
    2^53, times of the years 1970 to 2100. `extreme` goes to the ends of what can be stored.
    """
    return _Bodies(form, _EXTREME if extreme else _USUAL).named(SELF)


class _Range(NamedTuple):
    """From where to where values go that have no bounds of their own."""

    low: int
    high: int
    real: float
    first: datetime
    last: datetime
    infinite: bool


_USUAL = _Range(-(2**53), 2**53, 1e15, datetime(1970, 1, 1), datetime(2100, 1, 1), False)  # noqa: DTZ001  # zones come with the values
_EXTREME = _Range(-(2**63), 2**64 - 1, sys.float_info.max, datetime(1, 1, 2), datetime(9999, 12, 30), True)  # noqa: DTZ001  # as above


class _Bodies:
    def __init__(self, form: Form, within: _Range) -> None:
        self._types, self._within = form.types, within
        self._made: dict[str, SearchStrategy[Body]] = {}

    def named(self, name: str) -> SearchStrategy[Body]:
        """Values of a class or enumeration of the table; deferred, since a type may contain itself."""
        if name not in self._made:
            one = self._types[name]
            self._made[name] = _values(one) if isinstance(one, Values) else st.deferred(lambda: self._object(one))
        return self._made[name]

    def _object(self, one: Object) -> SearchStrategy[Body]:
        tag = {} if one.tag is None else {one.tag[0]: st.just(one.tag[1])}
        fields = {name: self.of(field.type) for name, field in one.fields.items()}
        if one.array:
            return st.tuples(*tag.values(), *fields.values()).map(list)
        free = {
            name: fields[name]
            for name, field in one.fields.items()
            if field.default == UNSET or (one.omits and field.default not in ("", MADE))
        }
        always = {name: values for name, values in fields.items() if name not in free}
        return st.fixed_dictionaries({**tag, **always}, optional=free)

    def of(self, type: Type) -> SearchStrategy[Body]:
        """Values of a type."""
        if type.head in self._types:
            return self.named(type.head)
        bounds = dict(type.bounds)
        match type.head:
            case "|":
                return st.one_of([self.of(one) for one in type.args])
            case "Literal":
                return st.sampled_from(type.args)
            case "tuple" if not type.many:
                return st.tuples(*map(self.of, type.args)).map(list)
            case "list" | "tuple":
                return st.lists(self.of(type.args[0]), **_lengths(bounds))
            case "set" | "frozenset":
                return st.lists(self.of(type.args[0]), unique_by=repr, **_lengths(bounds))
            case "dict":
                keys = self.of(type.args[0]).map(_as_key)
                return st.dictionaries(keys, self.of(type.args[1]), **_lengths(bounds))
        return _SCALARS[type.head](bounds, self._within)


def _values(one: Values) -> SearchStrategy[Body]:
    if not one.flags:
        return st.sampled_from(one.values) if one.values else st.nothing()
    bits = [value for value in one.values if isinstance(value, int)]
    return st.sets(st.sampled_from(bits)).map(lambda found: reduce(or_, found, 0))


def _as_key(value: Body) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _lengths(bounds: dict[str, Any]) -> dict[str, Any]:
    low = bounds.get("min_length", 0)
    return {"min_size": low, "max_size": min(bounds.get("max_length", low + _LONGEST), low + _LONGEST)}


def _whole(bounds: dict[str, Any], within: _Range) -> SearchStrategy[int]:
    low, high = bounds.get("ge"), bounds.get("le")
    if "gt" in bounds:
        low = max(bounds["gt"] + 1, bounds.get("ge", bounds["gt"] + 1))
    if "lt" in bounds:
        high = min(bounds["lt"] - 1, bounds.get("le", bounds["lt"] - 1))
    low = low if low is not None else min(within.low, within.low if high is None else high)
    high = high if high is not None else max(within.high, low)
    step = bounds.get("multiple_of", 1)
    return st.integers(-(-low // step), high // step).map(lambda number: number * step)


def _real(bounds: dict[str, Any], within: _Range) -> SearchStrategy[float]:
    if step := bounds.get("multiple_of"):
        return st.integers(-1_000, 1_000).map(lambda number: number * step)
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    least = float(low) if low is not None else min(-within.real, -within.real if high is None else float(high))
    most = float(high) if high is not None else max(within.real, least)
    return st.floats(
        least,
        most,
        exclude_min="gt" in bounds and "ge" not in bounds,
        exclude_max="lt" in bounds and "le" not in bounds,
    )


def _text(bounds: dict[str, Any], _: _Range) -> SearchStrategy[str]:
    least, most = bounds.get("min_length", 0), bounds.get("max_length")
    if pattern := bounds.get("pattern"):
        found = st.from_regex(pattern, alphabet=_TEXT)
        return found.filter(lambda text: least <= len(text) <= (len(text) if most is None else most))
    return st.text(_TEXT, min_size=least, max_size=most)


def _builtin(values: SearchStrategy[Any]) -> SearchStrategy[str]:
    """Values as JSON writes them."""
    return values.map(lambda value: str(msgspec.to_builtins(value)))


def _zones(bounds: dict[str, Any]) -> SearchStrategy[Any]:
    if "tz" in bounds:
        return _ZONES if bounds["tz"] else st.none()
    return st.none() | _ZONES


def _any(_: dict[str, Any], within: _Range) -> SearchStrategy[Body]:
    text = _text({}, within)
    plain = st.none() | st.booleans() | _whole({}, within) | _real({}, within) | text
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=_LONGEST) | st.dictionaries(text, inner, max_size=_LONGEST),
        max_leaves=_LONGEST,
    )


def _decimal(_: dict[str, Any], within: _Range) -> SearchStrategy[str]:
    if within.infinite:
        return st.decimals(allow_nan=False).map(str)
    return st.decimals(within.low, within.high, allow_nan=False).map(str)


def _datetime(bounds: dict[str, Any], within: _Range) -> SearchStrategy[str]:
    return _builtin(st.datetimes(within.first, within.last, timezones=_zones(bounds)))


_SCALARS: dict[str, Callable[[dict[str, Any], _Range], SearchStrategy[Body]]] = {
    "any": _any,
    "None": lambda *_: st.none(),
    "bool": lambda *_: st.booleans(),
    "int": _whole,
    "float": _real,
    "str": _text,
    "bytes": lambda bounds, _: _builtin(st.binary(**_lengths(bounds))),
    "decimal": _decimal,
    "uuid": lambda *_: st.uuids().map(str),
    "date": lambda _, within: st.dates(within.first.date(), within.last.date()).map(str),
    "timedelta": lambda *_: _builtin(st.timedeltas(timedelta(seconds=-_SECONDS), timedelta(seconds=_SECONDS))),
    "datetime": _datetime,
    "time": lambda bounds, _: _builtin(st.times(timezones=_zones(bounds))),
}


def try_bodies(form: Form, check: Callable[[Body], None], examples: int) -> None:
    """Call `check` with so many random bodies; a failing one is shrunk before its exception goes on."""

    # A shape is as it is: that it has large values, or a pattern that few texts match, is no fault of the test.
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(bodies(form))
    def tried(body: Body) -> None:
        check(body)

    tried()
