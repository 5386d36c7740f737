"""`dead-letters show --as-test`: what it prints runs, fails as the function did, and passes once that is mended."""

import json
import subprocess
import sys

import pytest

from foldlog.cli import program as cli

APP = """
import asyncio

from foldlog import App, Backoff, Context, Decider, Recorded, Rejected, Send, command, event, handler, projection

@event("till.paid", tags=("by",))
class Paid:
    by: str
    amount: int

@command("till.pay")
class Pay:
    by: str
    amount: int

@command("till.refuse")
class Refuse:
    why: str

def decide(command: Pay | Refuse, state: int) -> list[Paid]:
    if isinstance(command, Refuse):
        raise Rejected("till.no", command.why)
    return [Paid(command.by, command.amount)]

def evolve(state: int, event: Paid) -> int:
    return state + 1

till = Decider("till", decide, evolve, initial=0)

@projection("sums", key=lambda event: [event.by, "all"])
def sums(row: int | None, event: Paid) -> int:
    return (row or 0) + 100 // event.amount

def made(name):
    @handler(name, retry=Backoff(attempts=1), after_dead="go on")
    async def receipt(event: Recorded[Paid], ctx: Context) -> Send | None:
        if event.data.amount == 0:
            raise ValueError(f"{event.stream}@{event.version}, {ctx.correlation}, {ctx.now:%Y}")
        return None
    return receipt

receipt = made("receipt")

@handler("refuse", retry=Backoff(attempts=1), after_dead="go on")
async def refuse(event: Paid) -> Send | None:
    return Send(till, "9", Refuse("no")) if event.amount == 0 else None

app = App("sqlite:FOLDER/till.db", parts=[till, sums, receipt, made("hidden"), refuse])

async def fill():
    async with app:
        await app.send(till, "1", Pay("Ben", 3), correlation="c-1")
        await app.send(till, "1", Pay('An"n \\\\ \\'é', 0), correlation="c-2")
        await app.settle()
"""
MENDED = (("100 // event.amount", "100 // max(1, event.amount)"), ("if event.data.amount == 0", "if False"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "till_of_tests.py").write_text(APP.replace("FOLDER", str(tmp_path)))
    command = [sys.executable, "-c", "import asyncio, till_of_tests; asyncio.run(till_of_tests.fill())"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


@pytest.fixture
def foldlog(folder, capsys, monkeypatch):
    monkeypatch.delenv("FOLDLOG_APP", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "till_of_tests", raising=False)

    def run(*args):
        code = cli.run(["dead-letters", str(folder / "till_of_tests.py"), *args])
        said = capsys.readouterr()
        return code, said.out, said.err

    yield run
    sys.modules.pop("till_of_tests", None)


def outcome(folder):
    """How the printed tests go, in a place of their own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "printed"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


def test_what_is_printed_fails_as_the_function_did_until_it_is_mended(folder, foldlog):
    _, out, _ = foldlog("list", "--json")
    letters = [json.loads(line) for line in out.splitlines()]
    assert {letter["function"] for letter in letters} == {
        "view.sums.1",
        "handler.receipt",
        "handler.hidden",
        "handler.refuse",
    }
    (folder / "printed").mkdir()
    for number, letter in enumerate(one for one in letters if not one["command"]):
        code, text, _ = foldlog("show", letter["id"], "--as-test")
        assert code == 0
        (folder / "printed" / f"test_{number}.py").write_text(text)
    said = outcome(folder)
    assert "4 failed" in said  # sums has a letter for each of its two rows
    assert said.count("ValueError: till-1@2, c-2, 20") >= 2
    assert "ZeroDivisionError" in said
    code = (folder / "till_of_tests.py").read_text()
    for broken, mended in MENDED:
        assert broken in code
        code = code.replace(broken, mended)
    (folder / "till_of_tests.py").write_text(code)
    for file in (folder / "printed").iterdir():
        if file.suffix == ".py":
            row = "100" if "key='An" in file.read_text() else "133"
            file.write_text(file.read_text().replace("then(...,", f"then({row},"))
    assert "4 passed" in outcome(folder)


def test_machines_get_the_same_text_in_json(foldlog):
    _, out, _ = foldlog("list", "--json", "--function", "receipt")
    letter = json.loads(out)["id"]
    _, text, _ = foldlog("show", letter, "--as-test")
    _, machine, _ = foldlog("show", letter, "--as-test", "--json")
    assert json.loads(machine) == {"test": text}
    assert "may hold personal data" in text
    compile(text, "printed", "exec")


def test_a_command_that_was_refused_and_a_store_without_code_are_no_test(folder, foldlog, capsys):
    _, out, _ = foldlog("list", "--json", "--function", "refuse")
    letter = json.loads(out)["id"]
    code, out, said = foldlog("show", letter, "--as-test")
    assert (code, out) == (3, "")
    assert "is a command (till.refuse)" in said
    assert foldlog("show", "handler.receipt/0000000000000000099/000", "--as-test")[0] == 3
    assert cli.run(["dead-letters", f"sqlite:{folder}/till.db", "show", letter, "--as-test"]) == 6
    assert "store without code" in capsys.readouterr().err


def test_a_function_that_is_gone_is_said_to_be_gone(folder, foldlog):
    _, out, _ = foldlog("list", "--json", "--function", "hidden")
    letter = json.loads(out)["id"]
    code = (folder / "till_of_tests.py").read_text().replace('made("hidden"), ', "")
    (folder / "till_of_tests.py").write_text(code)
    sys.modules.pop("till_of_tests", None)
    exit_code, _, said = foldlog("show", letter, "--as-test")
    assert exit_code == 3
    assert "no function 'handler.hidden' any more" in said


def test_a_row_of_too_many_events_is_refused(foldlog, monkeypatch):
    monkeypatch.setattr("foldlog.limits.TEST_EVENTS", 0)
    _, out, _ = foldlog("list", "--json", "--function", "view.sums.1")
    letter = next(one["id"] for one in map(json.loads, out.splitlines()) if one["key"] == "all")
    code, _, said = foldlog("show", letter, "--as-test")
    assert code == 3
    assert "too many for a test" in said
