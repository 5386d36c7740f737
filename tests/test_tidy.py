"""The house rules as tests.

A rule is a pure function from files (path -> text) to findings. Each is run on this repository, must find its planted
fault, and must let its near miss pass: a rule that cannot fail is worth nothing.
"""

import ast
import io
import os
import posixpath
import re
import tokenize
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import foldlog

Files = dict[str, str]
Rule = Callable[[Files], list[str]]
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

ROOT = Path(__file__).parent.parent
READ = {".py", ".md", ".toml"}
GENERATED = {"site", "dist", "build", "__pycache__"}
FILE_LINES, FUNCTION_LINES, USUAL_LINES, LONGER_SHARE = 400, 60, 40, 0.05
CLASS_DEPTH, ERROR_DEPTH, PORT_METHODS, PUBLIC_NAMES = 2, 3, 9, 24
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "manager", "service", "impl", "core"}
EVERYTHING = {"Exception", "BaseException"}
DYNAMIC_IMPORTS = {"import_module", "__import__"}
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv"}
MARKER = re.compile(
    r"#\s*(noqa(:\s*[A-Z]+\d+([,\s]+[A-Z]+\d+)*)?|(type|pyright):\s*ignore(\[[^]]*\])?|pragma:\s*no\s+(cover|branch))",
    re.IGNORECASE,
)
LEFTOVER = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X])\b")
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)|^\s*\[[^]]+\]:\s+(\S+)", re.MULTILINE)
CODE = re.compile(r"^(```+|~~~+).*?^\1\s*$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


# ---------------------------------------------------------------- reading


def repository() -> Files:
    """Every file of the repository; the text of those that a rule reads, and "" for the rest."""
    files: Files = {}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if f not in GENERATED and (f == ".ci" or not f.startswith("."))]
        for path in (Path(folder, name) for name in names):
            known = path.suffix in READ or path.name == "constraints.txt"
            files[path.relative_to(ROOT).as_posix()] = path.read_text("utf-8") if known else ""
    return files


@cache
def parse(text: str) -> ast.Module:
    return ast.parse(text)


def modules(files: Files, under: str = "") -> Iterator[tuple[str, ast.Module]]:
    return ((path, parse(text)) for path, text in files.items() if path.endswith(".py") and path.startswith(under))


def functions(tree: ast.AST) -> Iterator[tuple[FunctionNode, int]]:
    for node in ast.walk(tree):
        if isinstance(node, FunctionNode):
            yield node, (node.end_lineno or node.lineno) - node.lineno + 1


def name_of(node: ast.AST | None) -> str:
    """The last name of an expression: `a.b.C[T]` -> `C`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value) | ast.Call(func=value):
            return name_of(value)
    return ""


def comments(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


# ---------------------------------------------------------------- rules: sizes


def long_files(files: Files) -> list[str]:
    sizes = {path: len(text.splitlines()) for path, text in files.items() if path.endswith(".py")}
    return [f"{path}: {size} lines, at most {FILE_LINES}" for path, size in sizes.items() if size > FILE_LINES]


def long_functions(files: Files) -> list[str]:
    return [
        f"{path}:{node.lineno}: {node.name} has {size} lines, at most {FUNCTION_LINES}"
        for path, tree in modules(files)
        for node, size in functions(tree)
        if size > FUNCTION_LINES
    ]


def many_longer_functions(files: Files) -> list[str]:
    sizes = [(path, node, size) for path, tree in modules(files, "src/") for node, size in functions(tree)]
    longer = [f"{path}:{node.lineno}: {node.name}: {size} lines" for path, node, size in sizes if size > USUAL_LINES]
    return longer if len(longer) > len(sizes) * LONGER_SHARE else []


def deep_classes(files: Files) -> list[str]:
    """Class chains inside the package, by name: two classes of one name share their bases."""
    places: dict[str, str] = {}
    parents: dict[str, set[str]] = {}
    for path, tree in modules(files, "src/"):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name] = f"{path}:{node.lineno}"
                parents.setdefault(node.name, set()).update(name_of(b) for b in node.bases if name_of(b) != node.name)

    def depth(name: str, seen: frozenset[str] = frozenset()) -> int:
        known = (parents.keys() & parents[name]) - seen
        return 1 + max((depth(parent, seen | {name}) for parent in known), default=0)

    return [
        f"{place}: {name} stands {depth(name)} classes deep"
        for name, place in places.items()
        if depth(name) > (ERROR_DEPTH if "/errors.py:" in place else CLASS_DEPTH)
    ]


def wide_ports(files: Files) -> list[str]:
    found: list[str] = []
    for path, tree in modules(files, "src/foldlog/ports/"):
        for port in ast.walk(tree):
            if not isinstance(port, ast.ClassDef) or "Protocol" not in map(name_of, port.bases):
                continue
            methods = [n for n in port.body if isinstance(n, FunctionNode) and not n.name.startswith("__")]
            if len(methods) > PORT_METHODS:
                found.append(f"{path}:{port.lineno}: {port.name} has {len(methods)} methods, at most {PORT_METHODS}")
            silent = [n.name for n in (port, *methods) if ast.get_docstring(n) is None]
            found.extend(f"{path}:{port.lineno}: {port.name}: no docstring on {name}" for name in silent)
    return found


def many_public_names(files: Files) -> list[str]:
    """`__all__` must be written out: it is the page that a reader of the package sees first."""
    for node in parse(files["src/foldlog/__init__.py"]).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if "__all__" in map(name_of, targets) and isinstance(node, ast.Assign | ast.AnnAssign):
            if not isinstance(node.value, ast.List | ast.Tuple):
                return ["foldlog.__all__ is computed; write the names out"]
            count = len(node.value.elts)
            return [f"foldlog.__all__ has {count} names, at most {PUBLIC_NAMES}"] if count > PUBLIC_NAMES else []
    return ["foldlog has no __all__"]


# ---------------------------------------------------------------- rules: habits


def hidden_imports(files: Files) -> list[str]:
    """An import inside a function, or by name at run time, but in connect.py and lazy.py."""
    found: list[str] = []
    for path, tree in modules(files, "src/"):
        if path in {"src/foldlog/connect.py", "src/foldlog/lazy.py"}:
            continue
        inside = [n for f, _ in functions(tree) for n in ast.walk(f) if isinstance(n, ast.Import | ast.ImportFrom)]
        dynamic = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and name_of(n) in DYNAMIC_IMPORTS]
        found += [f"{path}:{n.lineno}: hidden import" for n in (*inside, *dynamic)]
    return found


def environment_reads(files: Files) -> list[str]:
    found: list[str] = []
    for path, tree in modules(files, "src/"):
        for node in ast.walk(tree):
            names = {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else {name_of(node)}
            if names & ENVIRONMENT and path != "src/foldlog/cli/settings.py" and not isinstance(node, ast.Call):
                found.append(f"{path}:{node.lineno}: reads the environment")  # type: ignore[attr-defined]  # has a name
    return found


def swallowed_errors(files: Files) -> list[str]:
    def idle(node: ast.stmt) -> bool:
        match node:
            case ast.Pass() | ast.Continue() | ast.Return(value=None) | ast.Return(value=ast.Constant()):
                return True
            case ast.Expr(value=ast.Constant()):
                return True
        return False

    def broad(kind: ast.expr | None) -> bool:
        kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
        return any(k is None or name_of(k) in EVERYTHING for k in kinds)

    found: list[str] = []
    for path, tree in modules(files):
        for node in ast.walk(tree):
            match node:
                case ast.ExceptHandler(type=kind, body=body) if broad(kind) and all(map(idle, body)):
                    found.append(f"{path}:{node.lineno}: swallows every error")
                case ast.Call(func=func, args=[*kinds]) if name_of(func) == "suppress" and any(map(broad, kinds)):
                    found.append(f"{path}:{node.lineno}: suppresses every error")
    return found


def banned_names(files: Files) -> list[str]:
    paths = [path for path in files if path.endswith(".py")]
    return [f"{path}: a name that says nothing" for path in paths if BANNED_NAMES & set(path[:-3].split("/"))]


def silent_ignores(files: Files) -> list[str]:
    """A `noqa`, `type: ignore` or `no cover` without a reason, and a lint rule switched off without one."""
    found = [
        f"{path}:{line}: no reason beside {comment!r}"
        for path, text in files.items()
        if path.endswith(".py")
        for line, comment in comments(text)
        if MARKER.search(comment) and len(re.findall(r"[^\W\d_]{2,}", MARKER.sub("", comment))) < 2
    ]
    rules = enumerate(files.get("pyproject.toml", "").splitlines(), 1)
    return found + [f"pyproject.toml:{n}: no reason" for n, line in rules if re.match(r'\s+"[A-Z]+\d*",?\s*$', line)]


def leftovers(files: Files) -> list[str]:
    found = [
        f"{path}:{n}: unfinished: {line.strip()}"
        for path, text in files.items()
        for n, line in enumerate(text.splitlines(), 1)
        if LEFTOVER.search(line)
    ]
    for path, tree in modules(files, "src/"):
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        talk = {"breakpoint"} if path.startswith("src/foldlog/cli/") else {"breakpoint", "print"}
        found += [f"{path}:{call.lineno}: {name_of(call)}()" for call in calls if name_of(call) in talk]
    return found


# ---------------------------------------------------------------- rules: papers


def stale_changelog(files: Files) -> list[str]:
    version = "".join(re.findall(r'^__version__ = "(.+)"$', files["src/foldlog/__init__.py"], re.MULTILINE))
    heads = re.findall(r"^## \[?([^\]\s]+)", files.get("CHANGELOG.md", ""), re.MULTILINE)
    return [] if {"Unreleased", version} & set(heads) else [f"CHANGELOG.md: neither Unreleased nor {version}"]


def broken_links(files: Files) -> list[str]:
    there = {"."} | set(files)
    there |= {parent.as_posix() for path in files for parent in Path(path).parents}
    found: list[str] = []
    for path, text in files.items():
        if not path.endswith(".md"):
            continue
        for target in ("".join(groups) for groups in LINK.findall(CODE.sub("", text))):
            local = target.partition("#")[0]
            if local and not re.match(r"[a-z][a-z0-9+.-]*:", local):
                place = posixpath.normpath(posixpath.join(posixpath.dirname(path), local))
                found += [f"{path}: no such file: {target}"] if place not in there else []
    return found


def loose_constraints(files: Files) -> list[str]:
    lines = [line for line in files["constraints.txt"].splitlines() if not line.startswith("# ")]
    return [f"constraints.txt: {line}" for line in lines if not re.fullmatch(r"[\w.-]+==[\w.!+]+", line)]


# ---------------------------------------------------------------- each rule, its planted fault, its near miss


def body(lines: int) -> str:
    return "def f():\n" + "    x = 1\n" * (lines - 1)


def port(methods: int, says: str = "'''Does it.'''") -> str:
    return "class P(Protocol):\n    '''A port.'''\n" + "".join(f"    def m{i}(self): {says}\n" for i in range(methods))


A, INIT, ERRORS, PORT = "src/foldlog/a.py", "src/foldlog/__init__.py", "src/foldlog/errors.py", "src/foldlog/ports/a.py"
CHAIN = "class A: ...\nclass B(A): ...\nclass C(B[int]): ...\n"
VERSION = '__version__ = "1.2.3"\n'
UNFINISHED = "# " + "TO" + "DO: later"

CASES: list[tuple[Rule, Files, Files]] = [
    (long_files, {"tests/a.py": "x = 1\n" * 401}, {A: "x = 1\n" * 400}),
    (long_functions, {"tests/a.py": body(61)}, {A: body(60)}),
    (many_longer_functions, {A: body(41) + body(3) * 18}, {A: body(41) + body(3) * 19}),
    (deep_classes, {A: CHAIN}, {ERRORS: CHAIN, A: "class D(x.D): ..."}),
    (deep_classes, {ERRORS: CHAIN + "class D(C): ..."}, {A: "class A(Protocol): ...\nclass B(A): ..."}),
    (wide_ports, {PORT: port(10)}, {PORT: port(9), A: port(10)}),
    (wide_ports, {PORT: port(1, "...")}, {PORT: "class Data:\n    def m(self): ..."}),
    (many_public_names, {INIT: f"__all__ = {['a'] * 25}"}, {INIT: f"__all__ = {['a'] * 24}"}),
    (many_public_names, {INIT: "__all__ = list(PLACES)"}, {INIT: "__all__: list[str] = ['App']"}),
    (many_public_names, {INIT: "x = 1"}, {INIT: "__all__ = ('App',)"}),
    (hidden_imports, {A: "async def f():\n    import re"}, {"src/foldlog/connect.py": "def f():\n    import re"}),
    (hidden_imports, {INIT: "def f():\n    from x import y"}, {INIT: "from x import y"}),
    (
        hidden_imports,
        {A: "m = importlib.import_module('re')"},
        {"src/foldlog/lazy.py": "def f():\n    import_module('re')"},
    ),
    (hidden_imports, {INIT: "def __getattr__(n):\n    import re"}, {A: "if TYPE_CHECKING:\n    import re"}),
    (environment_reads, {A: "import os\nx = os.environ['A']"}, {"src/foldlog/cli/settings.py": "x = os.environ['A']"}),
    (environment_reads, {A: "from os import getenv as g"}, {A: "from os import path\nenvironment = 1"}),
    (environment_reads, {A: "x = os.getenv('A')"}, {"tests/a.py": "x = os.getenv('A')"}),
    (swallowed_errors, {A: "try: f()\nexcept Exception: pass"}, {A: "try: f()\nexcept KeyError: pass"}),
    (swallowed_errors, {A: "try: f()\nexcept: ..."}, {A: "try: f()\nexcept Exception as e: log(e)"}),
    (swallowed_errors, {A: "def f():\n try: g()\n except (KeyError, Exception): return None"}, {A: "return_ = None"}),
    (swallowed_errors, {A: "with suppress(Exception): f()"}, {A: "with contextlib.suppress(KeyError): f()"}),
    (banned_names, {"src/foldlog/utils.py": ""}, {"src/foldlog/utilities_of_power.py": "", "docs/core/a.md": ""}),
    (banned_names, {"src/foldlog/core/__init__.py": ""}, {"tests/unit/test_store.py": ""}),
    (silent_ignores, {A: "x = 1  # noqa: S608"}, {A: "x = 1  # noqa: S608 - the names are constants"}),
    (silent_ignores, {A: "x = 1  # noqa"}, {A: "x = '# noqa: S608'"}),
    (silent_ignores, {A: "x = 1  # type: ignore[a-b]"}, {A: "x = 1  # type: ignore[a-b]  # planted mistake"}),
    (silent_ignores, {A: "x = 1  # pragma: no cover"}, {A: "x = 1  # pragma: no cover - only on Windows"}),
    (silent_ignores, {"pyproject.toml": 'i = [\n  "S101",\n]'}, {"pyproject.toml": 'i = [\n  "S101", # tests\n]'}),
    (leftovers, {"README.md": UNFINISHED}, {"README.md": "A list of things to do."}),
    (leftovers, {A: "print('here')"}, {"src/foldlog/cli/a.py": "print('here')", A: "console.print('x')"}),
    (stale_changelog, {INIT: VERSION}, {INIT: VERSION, "CHANGELOG.md": "## [1.2.3] - 2026"}),
    (broken_links, {"docs/a.md": "[b](b.md)"}, {"docs/a.md": "[b](b.md#x) [c](https://c) `[d](d)`", "docs/b.md": ""}),
    (broken_links, {"a.md": "![i](i.png)"}, {"a.md": "![i](docs/i.png) [f](docs/) [h](#h)", "docs/i.png": ""}),
    (broken_links, {"a.md": "[b][b]\n\n[b]: b.md"}, {"a.md": "```\n[b](b.md)\n```\n[b][b]\n\n[b]: ./c.md", "c.md": ""}),
    (loose_constraints, {"constraints.txt": "a>=1"}, {"constraints.txt": "# Exact.\na-b==1.2.post1"}),
    (loose_constraints, {"constraints.txt": "a @ file:///a.whl"}, {"constraints.txt": "a==1!2+cpu"}),
]
RULES = list(dict.fromkeys(rule for rule, _, _ in CASES))


@pytest.fixture(scope="module")
def files() -> Files:
    return repository()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Rule, files: Files) -> None:
    found = rule(files)
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].__name__)
def test_the_rule_finds_its_planted_fault_and_no_near_miss(case: tuple[Rule, Files, Files]) -> None:
    rule, fault, near_miss = case
    assert rule(fault)
    assert rule(near_miss) == []


def test_the_walk_sees_the_house(files: Files) -> None:
    assert {INIT, "tests/test_tidy.py", "pyproject.toml", "constraints.txt", ".ci/run"} <= files.keys()


def test_every_public_name_is_there() -> None:
    assert [name for name in foldlog.__all__ if not hasattr(foldlog, name)] == []
