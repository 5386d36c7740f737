import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from examples.demo import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("bad", [["--orders", "0"], ["--orders", "many"], ["--unknown"]])
def test_bad_options_are_usage_errors(bad, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(bad)
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
def test_a_url_moves_the_demonstration_to_another_store_which_stays(url, capsys):
    assert main(["--orders", "60", "--url", url]) == 0
    printed = capsys.readouterr().out
    assert f"on {'PostgreSQL' if url.startswith('postgresql') else 'one SQLite file'}" in printed
    assert "orders placed = shipped + cancelled" in printed
    assert "BAD" not in printed
    assert main(["--orders", "60", "--url", url]) == 2  # it is there, and not empty
    assert "the store holds events already" in capsys.readouterr().err


def test_a_url_that_leads_nowhere_is_told(capsys):
    for bad in ("nothing:x", "postgresql://127.0.0.1:1/x"):
        assert main(["--url", bad]) == 2
        said = capsys.readouterr().err
        assert bad.partition("?")[0] in said
        assert "Traceback" not in said


def test_an_interrupt_ends_the_demonstration_and_leaves_nothing(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - a shell may have made it ignored
    )
    with process:
        assert process.stderr.readline() == "… customers are ordering\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
