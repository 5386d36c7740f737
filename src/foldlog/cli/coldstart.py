"""How long a fresh interpreter takes until an app is there, and on which packages it spends that time."""

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from foldlog import limits
from foldlog.model.finding import FAIL, OK, WARN, Finding

_RUNS = 3  # the quickest counts: others measured what else the machine did
_SHOWN = 5  # heaviest packages named
_PATIENCE = 60.0  # seconds: an app whose import takes longer is told so
_FILE = "import sys; from pathlib import Path; from foldlog.connect import load_file; load_file(Path(sys.argv[1]))"
_MODULE = "import sys; from foldlog.connect import load; load(sys.argv[1])"
_URL = "import sys; from foldlog import App; App(sys.argv[1], [])"


def cold_start(name: str, *, is_url: bool) -> Finding:
    """Import the app in fresh interpreters, as a serverless platform does. `name` is APP or URL, as written."""
    if is_url:
        command = [_URL, name]
    else:
        place = name if Path(name).is_file() else name.rpartition(":")[0] or name
        command = [_FILE if place.endswith(".py") or "/" in place else _MODULE, place]
    try:
        bare = min(_seconds("pass", "") for _ in range(_RUNS))
        taken = min(_seconds(*command) for _ in range(_RUNS))
        heavy = _heaviest(_run("-X", "importtime", "-c", *command))
    except subprocess.TimeoutExpired:
        return Finding("cold start", FAIL, f"{name} is not imported after {_PATIENCE:g} s", "see what its module does")
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        cure = "import it by hand: python -c 'import ...'"
        return Finding("cold start", FAIL, f"{name} cannot be imported in a fresh interpreter: {last}", cure)
    shown = ", ".join(f"{package} {micros / 1e3:,.0f}" for package, micros in heavy.most_common(_SHOWN))
    what = f"{taken * 1e3:,.0f} ms, of which Python itself {bare * 1e3:,.0f}; heaviest imports (ms): {shown}"
    if taken > limits.COLD_START:
        return Finding("cold start", WARN, what, "import the heaviest later, or not at all")
    return Finding("cold start", OK, what)


def _seconds(*command: str) -> float:
    begun = time.perf_counter()
    _run("-c", *command)
    return time.perf_counter() - begun


def _run(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603  # our own interpreter, and code that this file says
        [sys.executable, *arguments], capture_output=True, stdin=subprocess.DEVNULL, timeout=_PATIENCE, check=True
    )
    return done.stderr.decode(errors="replace")


def _heaviest(told: str) -> Counter[str]:
    """Microseconds by top-level package, from what -X importtime prints: `import time: self | cumulative | name`."""
    found: Counter[str] = Counter()
    for line in told.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if len(parts) == 3 and parts[0].strip().isdigit():  # noqa: PLR2004  # self, cumulative, name
            found[parts[2].strip().partition(".")[0]] += int(parts[0])
    return found
