"""Every shape ever shipped, read and folded by the code of today: on random instances, straight from the lock file.

def test_the_code_reads_every_shape_ever_shipped():
    fold_history(app, "foldlog.lock.json")
"""

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from foldlog import limits
from foldlog.errors import FoldlogError, Invalid, Misconfigured, NotFound
from foldlog.flow.state import Decision
from foldlog.flow.view import View
from foldlog.model.decider import Decider
from foldlog.model.form import Form
from foldlog.model.history import FILE, Key, read_history
from foldlog.model.message import Meta, Recorded, encode_meta
from foldlog.model.projection import Projection
from foldlog.system import Resolved
from foldlog.testing.clock import FakeClock

Try = Callable[[Form, Callable[[Any], None], int], None]

_try: Try | None
try:
    from foldlog.testing.instances import try_bodies as _try
except ModuleNotFoundError as missing:
    if missing.name is None or missing.name.partition(".")[0] != "hypothesis":
        raise
    _try = None

EXAMPLES = 50


def fold_history(
    app: Any,
    file: str | Path = FILE,
    *,
    after: Mapping[Any, Sequence[Any]] | None = None,
    unfolded: Sequence[Any] = (),
    examples: int = EXAMPLES,
) -> int:
    """Read random instances of every shape in the lock file, and fold the events through the app's folds.

    For each version and shape that is not given up, Hypothesis makes `examples` bodies and shrinks one that fails. Each
    is upcast and decoded as it would be from the log; an event is then folded by each decider that evolves it, from
    the decider's initial state, and by each projection of its type, whose row must survive being stored. `after` gives
    parts the events that go before, where a fold expects some; `unfolded` names parts that are left out. Commands are
    upcast and decoded. Nothing is stored, no handler runs.

    Returns how many shapes were tried. Errors: `AssertionError` names the shape, the body and what failed; `Invalid`
    for a broken lock file or a part that the app does not list, `NotFound` for none; `Misconfigured` where
    Hypothesis is missing.
    """
    if _try is None:
        raise Misconfigured("random instances of old shapes need Hypothesis: pip install hypothesis")
    reading = _Reading(Resolved(app.parts), app.parts, after or {}, unfolded)
    path = Path(file)
    if not path.is_file():
        raise NotFound(f"there is no lock file {path}; `foldlog schema APP lock` writes the first one")
    history = read_history(path.read_bytes())
    count = 0
    for key in sorted(history.kept):
        for number, form in enumerate(history.live(key), 1):
            _try(form, reading.of(key, number, form), examples)
            count += 1
    return count


class _Reading:
    """What each body goes through."""

    def __init__(
        self, resolved: Resolved, parts: Sequence[Any], after: Mapping[Any, Sequence[Any]], unfolded: Sequence[Any]
    ) -> None:
        listed = {id(part) for part in parts if isinstance(part, Decider | Projection)}
        if foreign := [part for part in (*after, *unfolded) if id(part) not in listed]:
            raise Invalid(f"{foreign[0]!r} is no decider or projection of this app")
        self._schemas = schemas = resolved.schemas()
        left_out = {id(part) for part in unfolded}
        self._clock = FakeClock()
        self._decisions = [one for one in resolved.decisions(schemas).values() if id(one.decider) not in left_out]
        self._views = [one for one in resolved.views.values() if id(one.projection) not in left_out]
        self._states = {one.decider.category: self._state(one, _events(after, one.decider)) for one in self._decisions}
        self._before = {view.name: _events(after, view.projection) for view in self._views}

    def of(self, key: Key, number: int, form: Form) -> Callable[[Any], None]:
        """Reads one body of this shape. Errors: `AssertionError`."""

        def read(raw: Any) -> None:
            body = msgspec.json.encode(raw)
            what = f"{key}, shape {number}: {json.dumps(raw)}"
            if key.kind == "command":
                _step(what, "is not read", lambda: self._schemas.decode_command(key.name, key.version, body))
                return
            if key.kind == "state":
                state = msgspec.json.encode(raw["state"])
                _step(what, "is not read", lambda: self._schemas.decode_state(key.name, key.version, state))
                return
            meta = Meta("history", tags=_tags(raw, form))
            event = self._recorded(self._stream(key.name), 1, key.name, key.version, body, meta)
            _step(what, "is not read", lambda: event.data)
            for decision in self._decisions:
                before = deepcopy(self._states[decision.decider.category])
                _step(what, f"is not evolved by {decision.decider!r}", partial(decision.fold, before, [event]))
            for view in self._views:
                if view.concerns(event):
                    _step(what, f"is not folded by {view.projection!r}", partial(self._rows, view, event))

        return read

    def _stream(self, name: str) -> str:
        """A stream of the decider that knows such events, where there is one."""
        known = (one for one in self._decisions if name in self._schemas.names(one.events))
        category = next((one.decider.category for one in known), "history")
        return f"{category}-1"

    def _rows(self, view: View, event: Recorded[Any]) -> None:
        rows: dict[str, Any] = {}
        stream = event.stream
        before = [self._stored(stream, one, number) for number, one in enumerate(self._before[view.name], 1)]
        last = len(before) + 1
        for recorded in [*before, msgspec.structs.replace(event, position=last, version=last)]:
            for row_key in view.keys(recorded, recorded.data):
                argument = recorded if view.takes.recorded else recorded.data
                row = view.projection.fold(rows.get(row_key.key), argument)
                view.change(row_key, row, recorded.position)
                rows[row_key.key] = row

    def _state(self, decision: Decision, events: Sequence[Any]) -> Any:
        stream = f"{decision.decider.category}-1"
        recorded = [self._stored(stream, event, number) for number, event in enumerate(events, 1)]
        return decision.fold(deepcopy(decision.decider.initial), recorded)

    def _stored(self, stream: str, event: Any, number: int) -> Recorded[Any]:
        mark, body, again = self._schemas.encode(event)
        meta = Meta(f"before-{number}", tags=self._schemas.tags(mark, again))
        return self._recorded(stream, number, mark.name, mark.version, body, meta)

    def _recorded(self, stream: str, number: int, name: str, version: int, body: bytes, meta: Meta) -> Recorded[Any]:
        kind = self._schemas.kind(stream.partition("-")[0], name, version, "json")
        return Recorded(number, "", stream, number, kind, self._clock.now(), encode_meta(meta), body, "history")


def _events(after: Mapping[Any, Sequence[Any]], part: Any) -> Sequence[Any]:
    return next((events for one, events in after.items() if one is part), ())


def _tags(raw: Any, form: Form) -> tuple[str, ...]:
    """Tags as the body's fields say them; `field:value`."""
    found = {name: raw.get(name) for name in form.tags} if isinstance(raw, dict) else {}
    pairs = [(name, one) for name, value in found.items() for one in (value if isinstance(value, list) else [value])]
    return tuple(dict.fromkeys(f"{name}:{one}" for name, one in pairs if one is not None))[: limits.TAGS]


def _step(what: str, failed: str, work: Callable[[], object]) -> None:
    __tracebackhide__ = True
    try:
        work()
    except Exception as error:
        told = error.message if isinstance(error, FoldlogError) else f"{type(error).__name__}: {error}"
        raise AssertionError(f"{what}\n  {failed}: {told}") from error
