"""The public names with their signatures and docstrings, as Markdown: signatures as they are written in the source."""

import ast
import inspect
import textwrap
import typing
from collections.abc import Iterable, Iterator
from typing import Any

import foldlog
from foldlog import limits, process, testing
from foldlog.testing import kit, kit_handlers, kit_processes

WIDE = 100  # columns; a longer signature stands with one parameter a line
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_MANAGERS = {"asynccontextmanager": "AsyncContextManager", "contextmanager": "ContextManager"}


def app_text() -> str:
    return _entries({"App": foldlog.App}.items())


def names_text() -> str:
    """All that `foldlog` exports but App, in order of the alphabet."""
    names = sorted({*foldlog.__all__} - {"App"}, key=str.lower)
    return _entries((name, getattr(foldlog, name)) for name in names)


def process_text() -> str:
    """All that `foldlog.process` exports."""
    return _entries((name, getattr(process, name)) for name in sorted(process.__all__, key=str.lower))


def testing_text() -> str:
    """What `foldlog.testing` exports, and the steps that `given` leads to."""
    steps = [
        kit.GivenDecider,
        kit.DeciderAnswer,
        kit.GivenProjection,
        kit_handlers.GivenHandler,
        kit_handlers.HandlerAnswer,
        kit_processes.GivenProcess,
        kit_processes.ProcessAnswer,
    ]
    named = [(name, getattr(testing, name)) for name in sorted(testing.__all__, key=str.lower)]
    return "\n\n".join([_entries(named), *(entry(one.__name__, one, made=False) for one in steps)])


def _entries(named: Iterable[tuple[str, Any]]) -> str:
    return "\n\n".join(entry(name, value) for name, value in named)


def entry(name: str, value: Any, *, made: bool = True) -> str:
    """A name: its signature, its docstring and, of a class, its methods and properties. `made` False: users get it, and
    do not make it."""
    node = _node(value)
    assert ast.get_docstring(node), f"{name} is public and has no docstring"
    if not isinstance(node, ast.ClassDef):
        versions = [_node(one) for one in typing.get_overloads(value)] or [node]
        return _section(f"## {name}", [_signature(name, one) for one in versions], node)
    text = [_section(f"## {name}", [_made(name, node)] if made else [], node)]
    methods: dict[str, list[_Function]] = {}
    for one in node.body:
        if isinstance(one, _FUNCTION) and not one.name.startswith("_"):
            methods.setdefault(one.name, []).append(one)
    properties = [one for (one, *_) in methods.values() if _decorated(one, {"property"})]
    if properties:
        text.append("\n".join(f"- `{one.name}: {_returned(one)}`: {_doc(one)}" for one in properties))
    for method, defined in methods.items():
        if defined[0] not in properties:
            shown = [one for one in defined if _decorated(one, {"overload"})] or defined
            text.append(_section(f"### {method}", [_signature(method, one) for one in shown], defined[-1]))
    return "\n\n".join(text)


def _node(value: Any) -> Any:
    """The definition in the source."""
    return ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]


def _section(heading: str, signatures: list[str], node: Any) -> str:
    code = "\n".join(["```text", *signatures, "```"]) if signatures else ""
    return "\n\n".join(part for part in (heading, code, _doc(node)) if part)


def _doc(node: Any) -> str:
    """The docstring, a line a paragraph; what is indented stays as it is."""
    paragraphs = (ast.get_docstring(node) or "").split("\n\n")
    return "\n\n".join(one if one.startswith(" ") else " ".join(one.split()) for one in paragraphs)


def _made(name: str, node: ast.ClassDef) -> str:
    """How a value of the class is made: `__init__`, or its fields."""
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and one.name == "__init__":
            return _signature(name, one)
    fields = [one for one in node.body if isinstance(one, ast.AnnAssign) and "ClassVar" not in ast.dump(one)]
    return _broken(f"{name}(", [_typed(ast.unparse(one.target), one.annotation, one.value) for one in fields], ")")


def _signature(name: str, node: _Function) -> str:
    returned = "" if node.name == "__init__" else f" -> {_returned(node)}"
    awaited = isinstance(node, ast.AsyncFunctionDef) and "Async" not in returned  # else `async with`, `async for`
    return _broken(f"{'async ' if awaited else ''}{name}(", list(_parameters(node.args)), f"){returned}")


def _returned(node: _Function) -> str:
    text = _annotation(node.returns) if node.returns else "Any"
    manager = next((_MANAGERS[one] for one in _MANAGERS if _decorated(node, {one})), "")
    return f"{manager}[{text.partition('[')[2]}" if manager else text


def _parameters(arguments: ast.arguments) -> Iterator[str]:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + [*arguments.defaults]
    for one, default in zip(positional, defaults, strict=True):
        if one.arg != "self":
            yield _typed(one.arg, one.annotation, default)
    if arguments.vararg:
        yield _typed(f"*{arguments.vararg.arg}", arguments.vararg.annotation, None)
    elif arguments.kwonlyargs:
        yield "*"
    for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _typed(one.arg, one.annotation, default)


def _typed(name: str, annotation: ast.expr | None, default: ast.expr | None) -> str:
    said = f": {_annotation(annotation)}" if annotation else ""
    return name + said + (f" = {_default(default)}" if default else "")


def _annotation(node: ast.expr) -> str:
    return ast.unparse(node).replace("'", "")  # a forward reference without its quotes


def _default(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "limits":
        return repr(getattr(limits, node.attr))
    return ast.unparse(node).replace("'", '"')


def _broken(before: str, parts: list[str], after: str) -> str:
    line = f"{before}{', '.join(parts)}{after}"
    if len(line) <= WIDE:
        return line
    return "\n".join([before, *(f"    {part}," for part in parts), after])


def _decorated(node: _Function, by: set[str]) -> bool:
    return any(isinstance(one, ast.Name) and one.id in by for one in node.decorator_list)
