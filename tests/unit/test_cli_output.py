"""What stands in events cannot steer a terminal, nor be read as markup."""

import json

import pytest
from rich.console import Console

from foldlog.cli.output import Output, Rows, safe, to_json
from foldlog.model.finding import counted

HOSTILE = ["\x1b[31mred", "\x9b2J", "a\rb", "a\nb", "\u202egnp.exe", "\u2066x", "\ufeff", "\x07", "\u200bx", "\x7f"]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_text_that_steers_is_shown_as_an_escape(text) -> None:
    assert safe(text).isprintable()
    line = to_json({"a": text})
    assert line.isprintable()
    assert json.loads(line) == {"a": text}


def test_plain_text_stays_as_it_is() -> None:
    assert safe("Ann Müller 日本 [bold]") == "Ann Müller 日本 [bold]"
    assert to_json("Ann Müller") == '"Ann Müller"'


def test_a_table_takes_cells_literally(capsys) -> None:
    Output(machine=False).table(("name", "n"), [("[bold red]x[/]", 1), ("\x1b[2J:smile:", 22)])
    out = capsys.readouterr().out
    assert "[bold red]x[/]" in out
    assert "\\x1b[2J:smile:" in out
    assert "\x1b" not in out


def drawn(width: int, *args, **kwargs) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(Rows(*args, **kwargs), soft_wrap=True)
    return captured.get().splitlines()


FUNCTIONS = ("function", "lag", "errors", "owners")
STANDING = [("view.shelf.1", 5, 0, "vm:26878 8, vm:26882 8"), ("handler.sms", 12, 100, "nobody 16")]


def test_a_table_that_fits_has_a_line_for_each_row() -> None:
    assert drawn(80, FUNCTIONS, STANDING) == [
        "function      lag  errors  owners",
        "view.shelf.1    5       0  vm:26878 8, vm:26882 8",
        "handler.sms    12     100  nobody 16",
    ]


def test_a_table_that_is_too_wide_is_broken_between_columns() -> None:
    assert drawn(40, FUNCTIONS, STANDING) == [
        "function      lag  errors",
        "  owners",
        "view.shelf.1    5       0",
        "  vm:26878 8, vm:26882 8",
        "handler.sms    12     100",
        "  nobody 16",
    ]


def test_a_last_column_is_folded_below_itself_or_cut() -> None:
    rows = [("17", "a" * 50)]
    assert drawn(40, ("key", "row"), rows) == ["key  row", f"17   {'a' * 35}", f"     {'a' * 15}"]
    assert drawn(40, ("key", "row"), rows, last_cut=True) == ["key  row", f"17   {'a' * 34}…"]
    assert drawn(40, ("key", "row"), rows, broken=False) == ["key  row", f"17   {'a' * 50}"]


def test_wide_characters_take_their_place() -> None:
    assert drawn(40, ("name", "n"), [("日本", 1), ("x", 22)]) == ["name   n", "日本   1", "x     22"]


def test_one_is_no_plural() -> None:
    assert [counted(number, "event") for number in (0, 1, 2, 1_200)] == [
        "0 events",
        "1 event",
        "2 events",
        "1,200 events",
    ]
