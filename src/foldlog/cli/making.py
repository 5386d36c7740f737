"""`foldlog new`: a project with one part of each kind, its tests and a Makefile, copied from `template/`.

The template is a project of its own, whose files are linted, typed and tested as they stand. Three words in them are
replaced: `project_name` (the package), `project-name` (the distribution) and `~=0.0.0` (this version of Foldlog).
"""

import errno
import json
import keyword
import shlex
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

import foldlog
from foldlog.cli.output import Output
from foldlog.cli.target import OnTarget, json_option
from foldlog.errors import Invalid, NotFound
from foldlog.model.stream import check_part

_TAKEN = {"foldlog", "mypy", "pytest", "test", "tests"}  # what the project itself imports, and its tests
_DOTTED = {"gitignore": ".gitignore"}  # would act on this repository under its own name


@click.command(cls=OnTarget)
@click.argument("folder")
@json_option
def new(folder: str, machine: bool) -> None:
    """Make FOLDER, a project that runs and tests: a decider, a projection, a handler, tests, Makefile and README.

    The last part of FOLDER is the project's name: a-z first, then a-z, 0-9, _ or -. The folder must be new or empty. It
    appears as a whole or not at all.

    Examples:
      foldlog new shop
      cd shop && make test
    """
    target = Path(folder)
    package = package_name(target.name if folder not in {"", ".", ".."} else folder)
    made = make(target, package)
    place = origin()
    first = f"make test FOLDLOG={shlex.quote(place)}" if place else "make test"
    steps = [f"cd {folder}", first, "make run"]
    output = Output(machine)
    if machine:
        output.json({"project": str(target.resolve()), "package": package, "files": made, "next": steps})
        return
    output.say(f"made {folder}:")
    for file in made:
        output.say(f"  {file}")
    output.say(f"next: {' && '.join(steps[:2])}; `make` lists what else there is")


def package_name(name: str) -> str:
    """The package of a project of this name. Errors: `Invalid` for what cannot be one, or would hide another."""
    package = check_part(name).replace("-", "_")
    if name.endswith(("-", "_")):
        raise Invalid(f"bad name {name!r}: the name of a project ends with a letter or digit")
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or package in _TAKEN:
        raise Invalid(f"bad name {name!r}: Python has something else of that name; take another one, like my-{name}")
    return package


def origin() -> str:
    """The folder or file that this Foldlog was installed from, if it came from no package index, else "" (PEP 610): the
    project's own environment has to take it from there too."""
    told = Path(sysconfig.get_path("purelib"), f"foldlog-{foldlog.__version__}.dist-info", "direct_url.json")
    url = urlsplit(json.loads(told.read_text("utf-8"))["url"] if told.is_file() else "")
    place = unquote(url.path) if url.scheme == "file" else ""
    return place if place and Path(place).exists() else ""


def make(target: Path, package: str) -> list[str]:
    """Write the project; returns its files. Errors: `Invalid` where something stands already, `NotFound` where the
    folder above is not there. After each of them, and after an interrupt, nothing is left."""
    if not target.parent.is_dir():
        raise NotFound(f"there is no folder {target.parent}; make it first")
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        raise Invalid(f"{target} is there already; name a new folder, or an empty one")
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent))
    try:
        whole = beside / target.name  # has the usual permissions, unlike the folder of mkdtemp
        made = [_written(whole, path, text, package) for path, text in _template()]
        try:
            whole.rename(target)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                raise
            raise Invalid(f"{target} is there already; name a new folder, or an empty one") from error
        return sorted(made)
    finally:
        shutil.rmtree(beside)


def _written(whole: Path, path: str, text: str, package: str) -> str:
    words = {
        "project_name": package,
        "project-name": package.replace("_", "-"),
        "~=0.0.0": f"~={foldlog.__version__}",
    }
    for word, meaning in words.items():
        path, text = path.replace(word, meaning), text.replace(word, meaning)
    file = whole / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return path


def _template() -> list[tuple[str, str]]:
    return list(_files(files("foldlog.cli") / "template", ""))


def _files(folder: Traversable, path: str) -> Iterator[tuple[str, str]]:
    """Path and text of each file below."""
    for one in folder.iterdir():
        here = f"{path}{_DOTTED.get(one.name, one.name)}"
        if one.is_file():
            yield here, one.read_text("utf-8")
        elif one.name != "__pycache__":
            yield from _files(one, f"{here}/")
