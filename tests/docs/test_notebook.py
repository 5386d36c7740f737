"""The cells of docs/how-to/notebooks.md, run by IPython in a loop that goes on between them, as in a notebook."""

import asyncio

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from tests.docs.page import ROOT, blocks, matches


@pytest.fixture
def shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    config = Config()
    config.HistoryManager.enabled = False
    return InteractiveShell(config=config)


async def cell(shell, text):
    return await shell.run_cell_async(text, transformed_cell=shell.transform_cell(text))


async def cells(shell):
    """Run the page; returns how many cells ran and how many answers were compared."""
    ran = compared = 0
    printed = ""
    for block in blocks(ROOT / "docs/how-to/notebooks.md"):
        if block.language == "python":
            with capture_output() as captured:
                done = await cell(shell, block.text)
            done.raise_error()
            printed, ran = captured.stdout, ran + 1
        else:
            assert matches(block.text, printed), printed
            compared += 1
    return ran, compared


def test_the_cells_run_in_a_notebook_s_loop(shell):
    assert asyncio.run(cells(shell)) == (5, 2)
    assert shell.user_ns["Taken"].__module__ == "__main__"


def test_functions_run_on_between_cells_and_a_failing_cell_fails(shell):
    async def main():
        page = [block.text for block in blocks(ROOT / "docs/how-to/notebooks.md") if block.language == "python"]
        for text in page[:2]:
            (await cell(shell, text)).raise_error()
        (await cell(shell, 'receipt = await app.send(reading, "attic", Take(30.0))')).raise_error()
        app, warmest, receipt = (shell.user_ns[name] for name in ("app", "warmest", "receipt"))
        assert await app.get(warmest, "attic", after=receipt) == 30.0
        (await cell(shell, page[0])).raise_error()  # the cell again: new classes of the same name
        with capture_output():
            again = await cell(shell, 'await app.send(reading, "attic", Take(30.0))')
        assert "another class" in str(again.error_in_exec)
        (await cell(shell, page[-1])).raise_error()

    asyncio.run(main())
