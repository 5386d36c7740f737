"""Nothing of the code is missing in the docs: what is public is looked up there."""

import inspect
import re
import runpy
from pathlib import Path

import pytest

import foldlog
from foldlog import App
from foldlog.cli import advice, program
from foldlog.model.message import Meta, Recorded
from foldlog.ports.store import Capabilities, Store
from tests.docs import tables
from tests.docs.page import ROOT

DOCS = ROOT / "docs"
SOURCE = ROOT / "src/foldlog"
SCHEMA = (SOURCE / "engines/sqlite/schema.sql").read_text("utf-8")


def page(name: str) -> str:
    return (DOCS / "reference" / name).read_text("utf-8")


@pytest.mark.parametrize("name", tables.MADE)
def test_what_is_made_from_the_code_is_as_the_code_says(name: str) -> None:
    assert tables.standing(name) == tables.MADE[name][1](), "write it anew: python -m tests.docs.tables"


def test_every_limit_has_a_value_and_a_reason() -> None:
    names = {name for name in vars(foldlog.limits) if name.isupper()}
    assert {name for name, _, _ in tables.limit_rows()} == names


def test_every_error_code_is_documented() -> None:
    text = page("errors.md")
    for error in tables.error_classes():
        assert f"`{error.__name__}`" in text
        assert str(error.status) in text


def test_every_exit_code_that_the_program_uses_is_documented() -> None:
    documented = tables.exit_codes()
    used = {number for _, number, _ in advice.CODES} | {program.USAGE, program.INTERRUPTED}
    assert used <= documented.keys()
    assert all(text for text in documented.values())


def test_every_command_is_in_the_reference() -> None:
    names = [name for name, _ in tables.commands()]
    assert len(names) > 8
    for name in names:
        assert f"\n### {name}\n" in page("cli.md") + page("cli-groups.md")


@pytest.mark.parametrize("name", foldlog.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    written = [page for page in sorted((DOCS / "reference").glob("*.md")) if not page.name.startswith("api-")]
    text = "".join(page.read_text("utf-8") for page in written)  # by somebody, for readers; api-* has every name anyhow
    assert re.search(rf"^## {name}$|`@?{name}[`(]", text, re.MULTILINE), name


@pytest.mark.parametrize("decorator", [foldlog.event, foldlog.command, foldlog.projection, foldlog.handler])
def test_every_option_of_a_decorator_is_in_the_reference(decorator: object) -> None:
    text = page("parts.md").partition(f"\n## {decorator.__name__}\n")[2].partition("\n## ")[0]
    for option in inspect.signature(decorator).parameters:
        assert re.search(rf"\b{option}\b", text), option


def test_every_method_and_option_of_an_app_is_in_the_reference() -> None:
    text = page("app.md")
    for name, member in vars(App).items():
        if name.startswith("_") and name != "__init__":
            continue
        assert name == "__init__" or re.search(rf"\b{name}\b", text), name
        if inspect.isfunction(member):
            for option in inspect.signature(member).parameters:
                assert option == "self" or re.search(rf"\b{option}\b", text), f"{name}({option})"


def test_every_method_and_capability_of_the_store_port_is_in_the_reference() -> None:
    text = page("store-port.md")
    for name in [*vars(Store), *Capabilities.__slots__]:
        assert name.startswith("_") or f"`{name}" in text, name


def test_every_field_of_the_envelope_is_in_the_reference() -> None:
    text = page("envelope.md")
    properties = [name for name, member in vars(Recorded).items() if isinstance(member, property)]
    for name in [*Recorded.__struct_fields__, *properties, *Meta.__struct_fields__]:
        assert f"`{name}`" in text, name


def test_every_table_column_index_and_trigger_of_a_file_is_in_the_reference() -> None:
    text = page("sqlite-file.md")
    made = re.findall(r"^CREATE (?:UNIQUE )?(?:TABLE|INDEX|TRIGGER) (\w+)", SCHEMA, re.MULTILINE)
    assert len(made) > 8
    for name in [*made, *re.findall(r"^    ([a-z]+) (?:INTEGER|TEXT|BLOB)", SCHEMA, re.MULTILINE)]:
        assert f"`{name}`" in text, name


def test_every_file_of_the_house_is_on_the_map() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    for file in sorted(SOURCE.rglob("*.py")):
        place = file.relative_to(SOURCE)
        known = place.parts[0] in {"cli", "testing"} or file.name in {"__init__.py", "__main__.py"}
        assert known or file.name in text, place


PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_link_inside_the_repository_is_broken(file: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", file.read_text("utf-8")):
        if "://" not in target:
            assert (file.parent / target).exists(), target


def test_every_page_is_on_the_first_page_and_in_the_menu() -> None:
    nav = runpy.run_path(str(DOCS / "nav.py"))
    pages = {file.relative_to(DOCS).as_posix(): file.read_text("utf-8") for file in DOCS.rglob("*.md")}
    menu = str(nav["menu"](pages))
    first = nav["listed"](pages["index.md"], pages)
    for path, text in pages.items():
        assert nav["heading"](text), path
        assert f"'{path}'" in menu, path
        assert path.startswith("adr/") or path == "index.md" or f"]({path})" in first, path
