"""Every code block of README and docs/ runs, page by page."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.page import LANGUAGES, ROOT, blocks, matches

PAGES = sorted([ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
CODE = [page for page in PAGES if any(block.language in {"python", "console"} for block in blocks(page))]


@pytest.mark.parametrize("page", CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_runs_from_top_to_bottom(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    command = [sys.executable, "-W", "error", str(ROOT / "tests/docs/page.py"), str(page)]
    env = dict(os.environ)
    if '"postgresql://' in page.read_text("utf-8"):  # such a page finds its server as libpq does
        server = request.getfixturevalue("postgres")
        env |= {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "postgres", "PGDATABASE": "postgres"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False, env=env)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_short_and_its_blocks_have_known_languages(page: Path) -> None:
    assert len(page.read_text("utf-8").splitlines()) <= 400
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{page}:{block.line}: {block.language!r}"
        if block.shown_only:
            reason = block.text.splitlines()[0].removeprefix("# not run:").strip()
            assert len(reason) > 10, f"{page}:{block.line}: say why it is not run"


def test_a_wrong_output_is_found() -> None:
    assert matches("one ... three", "one two three\n")
    assert not matches("one", "one two")


@pytest.mark.parametrize(
    "text",
    [
        "```python\n1 / 0\n```",
        "```python\nprint(1)\n```\n\n```text\n2\n```",
        "```console\n$ rm -r x\n```",
        "```sh\nls\n```",
    ],
)
def test_a_page_that_is_wrong_fails(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, "utf-8")
    command = [sys.executable, str(ROOT / "tests/docs/page.py"), str(page)]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode != 0
