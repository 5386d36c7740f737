"""`foldlog new`: what it makes runs, what it refuses leaves nothing."""

import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

import foldlog
from foldlog.cli import making, program
from foldlog.errors import Invalid, NotFound

BIN = Path(sys.executable).parent
TEMPLATE = Path(making.__file__).parent / "template"


def here(folder):
    """Everything in a folder, hidden things too."""
    return sorted(path.name for path in folder.iterdir())


def in_project(folder, *command):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV", "MAKE"))}
    done = subprocess.run(
        [*map(str, command)], cwd=folder, capture_output=True, text=True, timeout=110, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project whose name is not the name of its package."""
    folder = tmp_path_factory.mktemp("made") / "corner-shop"
    making.make(folder, making.package_name(folder.name))
    return folder


def test_the_made_project_passes_its_own_tests_and_checks(made) -> None:
    text = in_project(made, "make", "test", "check", f"BIN={BIN}", "STAMP=")
    assert "8 passed" in text
    assert "Success: no issues found" in text
    assert "corner_shop.app: 0 faults, 0 warnings: good to run" in text


def test_its_readme_s_commands_work_while_make_run_runs(made) -> None:
    lines = [line.strip() for line in (made / "README.md").read_text().splitlines() if line.startswith("    foldlog")]
    assert [line.split()[1] for line in lines] == ["send", "views", "send", "events"]

    def said(line):
        command = [BIN / "foldlog", *shlex.split(line)[1:]]
        return subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=60, check=False)

    running = subprocess.Popen(
        [shutil.which("make"), "run", f"BIN={BIN}", "STAMP="],
        cwd=made,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert any(line.startswith("ready: ") for line in running.stdout)
        assert said(lines[0]).returncode == 0
        end = time.monotonic() + 60
        while (row := said(lines[1])).returncode == 3 and time.monotonic() < end:
            continue  # the projection follows; the command line has no receipt to wait for
        assert json.loads(row.stdout) == {"1": "paint"}
        assert said(lines[2]).returncode == 0
        assert "task.finished" in said(lines[3]).stdout
        assert any("to Ann: 'paint' is done" in line for line in running.stdout)
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.communicate(timeout=60)


def test_its_make_prints_help_and_its_dependencies_are_this_version(made) -> None:
    text = in_project(made, "make")
    assert all(f"make {target}" in text for target in ("help", "setup", "run", "test", "check"))
    project = tomllib.loads((made / "pyproject.toml").read_text())["project"]
    assert project["name"] == "corner-shop"
    assert project["dependencies"] == [f"foldlog[cli]~={foldlog.__version__}"]


def test_no_word_of_the_template_is_left(made) -> None:
    files = [path for path in made.rglob("*") if path.is_file() and path.suffix in {".py", ".md", ".toml", ""}]
    assert len(files) > 10
    for file in files:
        text = f"{file.relative_to(made)} {file.read_text()}"
        assert not any(word in text for word in ("project_name", "project-name", "0.0.0")), file


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("", ""),  # from an index, or run from its source
        ('{"url": "file://{here}/a%20clone", "dir_info": {"editable": true}}', "{here}/a clone"),
        ('{"url": "file://{here}/gone", "dir_info": {}}', ""),
        ('{"url": "https://example.org/foldlog.git", "vcs_info": {"vcs": "git"}}', ""),
    ],
)
def test_a_project_is_told_to_take_foldlog_from_where_this_one_came(told, found, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "a clone").mkdir()
    installed = tmp_path / f"site/foldlog-{foldlog.__version__}.dist-info"
    installed.mkdir(parents=True)
    if told:
        (installed / "direct_url.json").write_text(told.replace("{here}", str(tmp_path)))
    monkeypatch.setattr("sysconfig.get_path", {"purelib": str(tmp_path / "site")}.__getitem__)
    place = found.replace("{here}", str(tmp_path))
    assert making.origin() == place
    assert program.run(["new", "shop"]) == 0
    wanted = f"make test FOLDLOG={shlex.quote(place)};" if place else "make test;"
    assert f"next: cd shop && {wanted}" in capsys.readouterr().out


@pytest.mark.parametrize(("place", "taken"), [("", ""), ("/a clone", "'/a clone'")])
def test_its_makefile_installs_foldlog_from_where_it_is_told(place, taken, made) -> None:
    text = in_project(made, "make", "--dry-run", "setup", f"FOLDLOG={place}")
    assert f"-e '.[dev]' {taken}".strip() in [line.partition("-check ")[2].strip() for line in text.splitlines()]


def test_people_see_the_next_step_and_machines_the_files(capsys) -> None:
    assert program.run(["new", "shop"]) == 0
    assert "next: cd shop && make test" in capsys.readouterr().out
    assert program.run(["new", "other", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["package"] == "other"
    assert {"Makefile", ".gitignore", "other/task.py", "tests/test_task.py"} <= {*told["files"]}
    assert all((Path(told["project"]) / file).is_file() for file in told["files"])
    assert here(Path.cwd()) == ["other", "shop"]


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "a/..", "/", "--", "Shop", "1shop", "sh op", "shop!", "shöp", "a\nb", "\x1b[2J", "shop-"),
        *("x" * 65, "class", "json", "tests", "foldlog", "pytest"),
    ],
)
def test_a_hostile_name_is_refused_and_makes_nothing(name, tmp_path, capsys) -> None:
    code = program.run(["new", name])
    error = capsys.readouterr().err
    assert code == (2 if name == "--" else 3)
    assert error.startswith("error: ")
    assert "\x1b" not in error
    assert here(tmp_path) == []


def test_a_name_that_only_looks_hostile_is_taken(tmp_path) -> None:
    for name in ("a", "x" * 64, "my-json", "class_2"):
        assert program.run(["new", name]) == 0
        assert (tmp_path / name / making.package_name(name) / "app.py").is_file()


def test_what_is_there_already_stays_as_it_is(tmp_path, capsys) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("full", "file", "link"):
        assert program.run(["new", name]) == 3
        assert f"{name} is there already" in capsys.readouterr().err
    assert program.run(["new", "absent/shop"]) == 3
    assert "there is no folder absent" in capsys.readouterr().err
    assert here(tmp_path) == ["file", "full", "link"]
    assert here(tmp_path / "full") == ["mine"]


def test_an_empty_folder_is_taken(tmp_path) -> None:
    (tmp_path / "shop").mkdir()
    assert program.run(["new", "shop"]) == 0
    assert (tmp_path / "shop/Makefile").is_file()


def test_what_comes_into_the_folder_meanwhile_is_not_overwritten(tmp_path, monkeypatch) -> None:
    def other_is_faster(*_):
        (tmp_path / "shop").mkdir()
        (tmp_path / "shop/theirs").write_text("theirs")
        return [("Makefile", "")]

    monkeypatch.setattr(making, "_template", other_is_faster)
    with pytest.raises(Invalid, match="there already"):
        making.make(tmp_path / "shop", "shop")
    assert here(tmp_path) == ["shop"]
    assert here(tmp_path / "shop") == ["theirs"]


@pytest.mark.parametrize("after", [0, 1, 7])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupt_or_a_full_disk_leaves_nothing(after, error, tmp_path, monkeypatch, capsys) -> None:
    written, count = Path.write_text, itertools.count()

    def fail(*args):
        if next(count) == after:
            raise error
        return written(*args)

    monkeypatch.setattr(Path, "write_text", fail)
    assert program.run(["new", "shop"]) == (130 if isinstance(error, KeyboardInterrupt) else 5)
    assert here(tmp_path) == []


def test_a_missing_folder_is_not_found(tmp_path) -> None:
    with pytest.raises(NotFound):
        making.make(tmp_path / "no" / "shop", "shop")


def test_the_template_has_no_file_that_a_package_would_leave_out() -> None:
    names = {path.name for path in TEMPLATE.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert {"gitignore", "Makefile", "pyproject.toml", "README.md", "app.py", "test_app.py"} <= names
    assert not any(name.startswith(".") for name in names)
