"""`foldlog` as a process of its own, as an operator runs it."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 60.0  # seconds: only a failing test waits that long

APP = """
from pathlib import Path
from foldlog import App, Backoff, Context, Decider, Rejected, command, event, handler, projection

@event("account.opened", tags=("owner",))
class Opened:
    owner: str
    note: str = ""

@event("account.deposited")
class Deposited:
    amount: int

@command("account.open")
class Open:
    owner: str
    note: str = ""

@command("account.deposit")
class Deposit:
    amount: int

def decide(command: Open | Deposit, is_open: bool) -> list[Opened | Deposited]:
    match command:
        case Open(owner, note): return [] if is_open else [Opened(owner, note)]
        case Deposit(amount) if is_open and amount > 0: return [Deposited(amount)]
    raise Rejected("account.not-possible", "cannot do that now", {"open": is_open})

def evolve(is_open: bool, event: Opened | Deposited) -> bool:
    return True

@projection("balances")
def balances(row: int | None, event: Deposited) -> int:
    return (row or 0) + event.amount

@handler("greet", retry=Backoff(attempts=1))
async def greet(event: Opened, ctx: Context) -> None:
    here = Path(__file__).parent
    if (here / "broken").exists():
        raise RuntimeError("no paper [bold]left")
    with (here / "greeted").open("a") as file:
        file.write(event.owner + "\\n")

account = Decider("account", decide, evolve, initial=False)
app = App(f"sqlite:{Path(__file__).parent}/bank.db", parts=[account, balances, greet])
"""


def command(*args):
    return [sys.executable, "-W", "error", "-m", "foldlog", *map(str, args)]


def environment():
    return {name: value for name, value in os.environ.items() if name != "FOLDLOG_APP"}


def foldlog(*args, code=0, stdin=b"", **more):
    """Run to the end and check the exit code; returns standard output and standard error."""
    done = subprocess.run(
        command(*args), input=stdin, capture_output=True, timeout=PATIENCE, env=environment(), check=False, **more
    )
    assert done.returncode == code, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    return done.stdout.decode(), done.stderr.decode()


def machine(*args, **more):
    """As `foldlog`, with --json; returns the JSON lines."""
    return [json.loads(line) for line in foldlog(*args, "--json", **more)[0].splitlines()]


def start(*args):
    return subprocess.Popen(
        command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment()
    )


def end(process, number=signal.SIGTERM):
    """Send a signal and wait; returns the exit code, standard output and standard error."""
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out.decode(), err.decode()


def line(process):
    """The next line of a process's standard output."""
    ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
    assert ready, "nothing came"
    return process.stdout.readline().decode()


def until(holds):
    """Wait for what another process does."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it did not happen"


def write_app(folder: Path) -> Path:
    path = folder / "bank.py"
    path.write_text(APP)
    return path
