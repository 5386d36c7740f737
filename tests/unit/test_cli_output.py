"""What stands in events cannot steer a terminal, nor be read as markup."""

import json

import pytest

from foldlog.cli.output import Output, safe, to_json
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


def test_one_is_no_plural() -> None:
    assert [counted(number, "event") for number in (0, 1, 2, 1_200)] == [
        "0 events",
        "1 event",
        "2 events",
        "1,200 events",
    ]
