"""APP or URL, as written on the command line, to an app and an open store."""

import asyncio
import inspect
import re
import sys
import sysconfig
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, redirect_stdout
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import click

import foldlog
from foldlog.app import App
from foldlog.cli import settings
from foldlog.connect import SCHEMES, absent, connect, is_url, load, load_file
from foldlog.errors import Misconfigured, NotFound
from foldlog.model.clock import SystemClock
from foldlog.model.message import Kind
from foldlog.ports.store import Store


@dataclass(frozen=True, slots=True)
class Target:
    """A store's URL and, where one was named, the app on it and its module."""

    url: str
    app: App | None = None
    module: ModuleType | None = None

    def known_app(self) -> App:
        """The app. Errors: `Misconfigured` where only a URL was given."""
        if self.app is None:
            raise Misconfigured(f"{self.url} is a store without code: name the app, path/to/file.py or package.module")
        return self.app


def find(name: str, url: str = "") -> Target:
    """What APP or URL stands for; `url` overrides the app's. Errors: `Misconfigured`."""
    if is_url(name):
        if url:
            raise click.UsageError("--url overrides an app's URL; here a URL stands already")
        return Target(name)
    place, attribute = _split(name)
    if not place:
        raise Misconfigured(f"{name!r} names no app: write path/to/file.py or package.module")
    module = _module(place, attribute)
    app = getattr(module, attribute, None)
    if not isinstance(app, App):
        others = [known for known, value in vars(module).items() if isinstance(value, App)]
        hint = f"it has the app {', '.join(others)}" if others else "it has no App at all"
        raise Misconfigured(f"{place} has no App named {attribute!r}; {hint}")
    return Target(url or app.url, App(url, app.parts) if url else app, module)


@asynccontextmanager
async def opened(target: Target, *, create: bool = False) -> AsyncIterator[Store]:
    """The target's store, open; its functions are left to others. `create` lets a new file come into being."""
    if not create:
        await check_present(target.url)
    if target.app is not None:
        async with target.app.open(functions=False) as app:
            yield app.system.store
        return
    store = connect(target.url, Kind, SystemClock().now)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def check_present(url: str) -> None:
    """Refuse a URL at which there is no log: whoever only looks makes no new one.

    Errors: `NotFound`; of a server also `Misconfigured`, `Unavailable`."""
    if place := await absent(url):
        raise NotFound(f"there is no log at {place}; `foldlog run`, `send` and `import` make new ones")


def present(url: str) -> None:
    """The same, outside of an event loop."""
    asyncio.run(check_present(url))


def _split(name: str) -> tuple[str, str]:
    place, colon, attribute = name.rpartition(":")
    if not colon:
        return name, "app"
    return place, attribute


def _module(place: str, attribute: str) -> ModuleType:
    is_file = place.endswith(".py") or "/" in place
    if is_file and not Path(place).is_file():
        raise Misconfigured(f"there is no file {place}")
    try:
        # What the module prints is not part of any command's answer.
        with redirect_stdout(sys.stderr):
            module: ModuleType = load_file(Path(place)) if is_file else load(place)
    except Misconfigured:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{place}.".startswith(f"{error.name}."):
            hint = f"; the store in that file is sqlite:{place}" if Path(place).is_file() else ""
            for scheme in get_close_matches(place.lower(), SCHEMES, 1):
                hint = f"; did you mean the store {scheme}:{attribute}?"
            raise Misconfigured(f"there is no module {place}, seen from {Path.cwd()}{hint}") from error
        raise Misconfigured(f"{place} cannot be imported: {_where(error)}") from error
    return module


def _where(error: BaseException) -> str:
    frames = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith("<frozen")]
    last = frames[-1] if frames else None
    place = f" ({last.filename}:{last.lineno})" if last and not isinstance(error, SyntaxError) else ""
    return f"{type(error).__name__}: {error}{place}"


def frames_of_user(error: BaseException) -> list[str]:
    """Where an exception came from, as far as it is the app's code: not Foldlog's, not its drivers', not Python's."""
    installed, python = sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")
    ours = [Path(foldlog.__file__).parent, *(Path(installed, name) for name in ("click", "rich", "msgspec", "apsw"))]
    return [
        f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line}"
        for frame in traceback.extract_tb(error.__traceback__)
        for path in [Path(frame.filename)]
        if path.is_absolute() and not any(path.is_relative_to(one) for one in ours)
        if path.is_relative_to(installed) or not path.is_relative_to(python)
    ]


class OnTarget(click.Command):
    """A command whose help keeps the lines of its examples, and whose APP may be left out where FOLDLOG_APP says it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.help = as_written(self.help or "")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As written, else with FOLDLOG_APP in front."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.MissingParameter:
            takes_app = any(param.name in {"app", "target"} for param in self.params)
            if not takes_app or not settings.app():
                raise
            return super().parse_args(ctx, [settings.app(), *given])


def as_written(text: str) -> str:
    """Help with click's mark before the paragraphs that must not be filled."""
    return re.sub(r"\n\n(?=Examples?:|APP is)", "\n\n\b\n", inspect.cleandoc(text))


class GroupOnTarget(click.Group):
    """A group that takes APP before its command: `foldlog views APP list`; FOLDLOG_APP may say it."""

    command_class = OnTarget

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.help = as_written(self.help or "")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put FOLDLOG_APP where the command stands first; `views list --help` needs no APP."""
        for number, word in enumerate(args):
            if word in self.commands:
                placeholder = "." if "--help" in args else ""
                if app := settings.app() or placeholder:
                    args = [*args[:number], app, *args[number:]]
                elif self.commands.keys().isdisjoint(args[number + 1 :]):  # else an app that is called like a command
                    raise click.UsageError(f"the app stands before the command: {ctx.command_path} APP {word}", ctx)
                break
            if not word.startswith("-"):
                break
        return super().parse_args(ctx, args)


url_option = click.option("--url", default="", metavar="URL", help="Another store than the app's own.")
json_option = click.option("--json", "machine", is_flag=True, help="JSON on standard output, and nothing else.")
tenant_option = click.option("--tenant", default="", metavar="NAME", help="The tenant; without it the default one.")
