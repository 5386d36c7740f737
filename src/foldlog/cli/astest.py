"""A dead letter as a pytest case: what the function got, so that its failure can be seen, mended and kept away."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from foldlog import limits
from foldlog.cli.output import safe
from foldlog.cli.target import Target
from foldlog.errors import Corrupt, Invalid, NotFound
from foldlog.flow.deadletter import Letter
from foldlog.flow.orchestrate import Orchestration
from foldlog.flow.view import View
from foldlog.model.cloudevents import to_line
from foldlog.model.message import Recorded
from foldlog.model.query import Query
from foldlog.ports.store import Store
from foldlog.system import Resolved

_HANDLER = """\
def test_{name}() -> None:
    event = exported({app}, EVENT)
    # It failed. Write what it should do instead: then(Send(...)), then_nothing() or then_raised(...).
    given({part}, clock=FakeClock(event.recorded)).when(event).then_nothing()
"""
_PROJECTION = """\
def test_{name}() -> None:
    event = exported({app}, EVENT)
    before = [exported({app}, line) for line in BEFORE]
    # The fold failed. Write the row that it should make in the place of ...
    given({part}, *before).when(event).then(..., key={key!r})
"""


class _Code(NamedTuple):
    """How a test reaches the app and the part: lines that import, and the two expressions."""

    imports: list[str]
    app: str
    part: str


async def test_of(store: Store, target: Target, letter: Letter) -> str:
    """The module to print. Errors: `NotFound` where the app no longer has the function, `Invalid` for a command."""
    if letter.command:
        raise Invalid(
            f"{letter.id} is a command ({letter.command}) that was refused or failed, not an event: test its decider, "
            "given(decider, *history).when(command)"
        )
    app = target.known_app()
    resolved = Resolved(app.parts)
    function = next((one for one in _functions(resolved) if one.name == letter.function), None)
    if function is None:
        raise NotFound(f"the app has no function {letter.function!r} any more")
    if isinstance(function, Orchestration):
        raise Invalid(
            f"{letter.id} is a step of a process: `foldlog processes APP show {function.part.name} {letter.key}` tells "
            "what came before; test it with given(process, *events).when(event)"
        )
    page = await store.read(Query(), letter.position - 1, 1)
    if not page.events or page.events[0].position != letter.position:
        raise Corrupt(f"{letter.stream}: the event at position {letter.position} is gone from the log")
    event = page.events[0]
    part = function.projection if isinstance(function, View) else function.part
    code = _code(target, part, letter.function)
    name = re.sub(r"\W+", "_", f"{part.name}_{letter.stream}_{letter.version}").strip("_").lower()
    blocks = [_head(letter), "\n".join(code.imports), f"EVENT = {_line(event)}"]
    if isinstance(function, View):
        before = await _before(store, function, letter)
        blocks[-1] += "\nBEFORE: list[str] = [" + "".join(f"\n    {_line(one)}," for one in before)
        blocks[-1] += "\n]" if before else "]"
        body = _PROJECTION.format(name=name, app=code.app, part=code.part, key=letter.key)
    else:
        body = _HANDLER.format(name=name, app=code.app, part=code.part)
    return "\n\n".join(blocks) + "\n\n\n" + body


def _functions(resolved: Resolved) -> list[Any]:
    return [*resolved.views.values(), *resolved.effects.values()]


def _head(letter: Letter) -> str:
    error = safe(letter.error.strip().rpartition("\n")[2])
    text = f"Dead letter {letter.id}.\n\n{error}\n\nThe events are as they were stored; they may hold personal data.\n"
    return '"""' + text.replace("\\", "\\\\").replace('"', '\\"') + '"""'


def _line(event: Recorded[Any]) -> str:
    return ascii(to_line(event).decode().rstrip("\n"))


async def _before(store: Store, view: View, letter: Letter) -> list[Recorded[Any]]:
    """The events of the row that come before the one that failed; `limits.TEST_EVENTS` at most."""
    found: list[Recorded[Any]] = []
    query, after, more = view.query, 0, True
    if view.projection.key is None:
        query, after = Query(stream=letter.stream, tenant=letter.tenant), 0
    while more:
        page = await store.read(query, after, limits.PAGE)
        more = page.more
        for event in page.events:
            after = event.version if query.stream else event.position
            if event.position >= letter.position:
                return found
            if view.concerns(event) and any(one.key == letter.key for one in view.keys(event, event.data)):
                found.append(event)
                if len(found) > limits.TEST_EVENTS:
                    raise Invalid(
                        f"row {letter.key!r} is made of over {limits.TEST_EVENTS:,} events: too many for a test. Take "
                        f"the event alone (`foldlog events --after {letter.position - 1} --limit 1`) and a row by hand"
                    )
    return found


def _code(target: Target, part: Any, function: str) -> _Code:
    module = target.module
    if module is None:
        raise NotFound("the app's module is not known")
    names = {name: value for name, value in vars(module).items() if name.isidentifier()}
    app = next(name for name, value in names.items() if value is target.known_app() or _same_parts(value, target))
    own = next((name for name, value in names.items() if value is part), "")
    imports = ["from foldlog.testing import FakeClock, exported, given"]
    if function.startswith("view."):
        imports = ["from foldlog.testing import exported, given"]
    file = getattr(module, "__file__", None)
    place = module.__name__
    if file is not None and "." not in place:
        # The test finds it there, wherever the test is kept; under its own name, whatever it was loaded as.
        place = Path(file).stem
        imports = ["import sys", "", f"sys.path.insert(0, {str(Path(file).resolve().parent)!a})", "", *imports]
    imports.append(f"from {place} import {', '.join(sorted({app, own} - {''}))}")
    if own:
        return _Code(imports, app, own)
    found = f"next(one for one in {app}.parts if getattr(one, 'name', None) == {part.name!r})"
    return _Code(imports, app, found)


def _same_parts(value: object, target: Target) -> bool:
    # `--url` makes another app of the same parts; the test imports the one of the module.
    return getattr(value, "parts", None) == target.known_app().parts
