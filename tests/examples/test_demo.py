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
