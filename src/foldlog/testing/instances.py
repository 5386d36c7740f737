"""Random JSON bodies of a form: what code of that shape may have written."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import reduce
from operator import or_
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from foldlog.model.form import MADE, SELF, UNSET, Form, Object, Type, Values

Body = Any
_LONGEST = 4  # elements of a list where no bound says more: shapes are tried in number, not in size
_TEXT = st.characters(exclude_categories=["Cs"])
_ZONES = st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30)), timezone(timedelta(hours=14))])
_SECONDS = 100_000 * 86_400  # of a timedelta


def bodies(form: Form) -> SearchStrategy[Body]:
    """JSON values of the events or commands of this form."""
    return _Bodies(form).named(SELF)


class _Bodies:
    def __init__(self, form: Form) -> None:
        self._types = form.types
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
        return _SCALARS[type.head](bounds)


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


def _whole(bounds: dict[str, Any]) -> SearchStrategy[int]:
    low = max(-(2**63), bounds.get("ge", -(2**63)), bounds.get("gt", -(2**63) - 1) + 1)
    high = min(2**64 - 1, bounds.get("le", 2**64 - 1), bounds.get("lt", 2**64) - 1)
    step = bounds.get("multiple_of", 1)
    return st.integers(-(-low // step), high // step).map(lambda number: number * step)


def _real(bounds: dict[str, Any]) -> SearchStrategy[float]:
    if step := bounds.get("multiple_of"):
        return _whole({}).map(lambda number: float(number % 1_000) * step)
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    return st.floats(
        low,
        high,
        allow_nan=False,
        allow_infinity=False,
        exclude_min="gt" in bounds and "ge" not in bounds,
        exclude_max="lt" in bounds and "le" not in bounds,
    )


def _text(bounds: dict[str, Any]) -> SearchStrategy[str]:
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


def _any(_: dict[str, Any]) -> SearchStrategy[Body]:
    plain = st.none() | st.booleans() | _whole({}) | _real({}) | _text({})
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=_LONGEST) | st.dictionaries(_text({}), inner, max_size=_LONGEST),
        max_leaves=_LONGEST,
    )


_SCALARS: dict[str, Callable[[dict[str, Any]], SearchStrategy[Body]]] = {
    "any": _any,
    "None": lambda _: st.none(),
    "bool": lambda _: st.booleans(),
    "int": _whole,
    "float": _real,
    "str": _text,
    "bytes": lambda bounds: _builtin(st.binary(**_lengths(bounds))),
    "decimal": lambda _: st.decimals(allow_nan=False).map(str),
    "uuid": lambda _: st.uuids().map(str),
    "date": lambda _: st.dates(date(1, 1, 1), date(9999, 12, 31)).map(str),
    "timedelta": lambda _: _builtin(st.timedeltas(timedelta(seconds=-_SECONDS), timedelta(seconds=_SECONDS))),
    "datetime": lambda bounds: _builtin(
        st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=_zones(bounds))  # noqa: DTZ001  # the zones come with the values
    ),
    "time": lambda bounds: _builtin(st.times(time.min, time.max, timezones=_zones(bounds))),
}


def try_bodies(form: Form, check: Callable[[Body], None], examples: int) -> None:
    """Call `check` with so many random bodies; a failing one is shrunk before its exception goes on."""

    # A shape is as it is: that it has large values, or a pattern that few texts match, is no fault of the test.
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(bodies(form))
    def tried(body: Body) -> None:
        check(body)

    tried()
