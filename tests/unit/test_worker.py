"""A running program: it ends cleanly on a signal, and gives its leases back."""

import asyncio
import json
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass

import pytest

from foldlog import App, Context, handler, projection
from foldlog.errors import Misconfigured
from foldlog.flow import lease
from foldlog.runtime.serve import until_signal
from tests.unit.bank import Open, Opened, account, balances

PROGRAM = """
import asyncio, sys
from foldlog import App, Context, handler
from tests.unit.bank import Opened, account, balances

@handler("see")
async def see(event: Opened, ctx: Context) -> None:
    print("begun", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    print("ended", flush=True)

App(sys.argv[1], [account, balances, see]).run()
"""


@handler("see")
async def see(event: Opened, ctx: Context) -> None:
    raise AssertionError("it was marked as done")


@dataclass(frozen=True)
class Owner:
    owner: str


def owners(row: Owner | None, event: Opened) -> Owner:
    return Owner(event.owner)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_program_when_its_attempt_has_ended(number, tmp_path):
    url = f"sqlite:{tmp_path}/x.db"

    async def before():
        async with App(url, [account]).open(functions=False) as app:
            await app.send(account, "1", Open("ann"))

    asyncio.run(before())
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        process.stdin.write("go on\n")
        process.stdin.flush()
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "ended\n", "")

    async def after():
        async with App(url, [account, balances, see]).open(functions=False) as app:
            held = await lease.checkpoint(app.system.store, "handler.see")
            assert (held.owner, held.position) == ("", 1)
            held = await lease.checkpoint(app.system.store, "view.balances.1")
            assert held.owner == ""  # it may have been stopped before its first page
        async with App(url, [account, balances, see]) as app:
            await app.settle()
            assert await app.get(balances, "1") == 0
            assert not await app.dead_letters()

    asyncio.run(after())


def test_a_second_signal_ends_at_once(tmp_path):
    url = f"sqlite:{tmp_path}/x.db"

    async def before():
        async with App(url, [account]).open(functions=False) as app:
            await app.send(account, "1", Open("ann"))

    asyncio.run(before())
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "begun\n"
        while process.poll() is None:  # two signals at once are one; a flood of them is all that it would see to
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)
    assert process.returncode == -signal.SIGTERM


def test_serve_says_when_it_is_ready_and_stops(url):
    ready = []

    async def main():
        app = App(url, [account, balances])

        def on_ready():
            ready.append(app.system)
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)

        await app.serve(on_ready)
        assert len(ready) == 1

    asyncio.run(main())


def test_serve_tells_what_has_stopped_and_ends_with_the_last(tmp_path):
    url = f"sqlite:{tmp_path}/x.db"
    seen = []

    async def main():
        async with App(url, [account, projection("owners")(owners)]) as app:
            await app.settle()
        indexed = projection("owners", indexes=("owner",))(owners)

        def on_ready():
            seen.append("ready")
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)

        def on_stop(name, why):
            seen.append((name, type(why)))

        await App(url, [account, indexed, see]).serve(on_ready, stopped=on_stop)
        assert seen == [("view.owners.1", Misconfigured), "ready"]
        with pytest.raises(Misconfigured, match="was made with the indexes"):
            await App(url, [account, indexed]).serve(on_ready, stopped=on_stop)
        assert seen[2:] == [("view.owners.1", Misconfigured)]

    asyncio.run(main())


def test_until_signal_gives_the_signals_back():
    async def main():
        before = signal.getsignal(signal.SIGTERM)
        with until_signal() as stop:
            signal.raise_signal(signal.SIGTERM)
            await stop.wait()
        assert signal.getsignal(signal.SIGTERM) == before

    asyncio.run(main())


def test_logs_of_a_program_are_json(tmp_path):
    program = PROGRAM.replace(
        '    print("begun", flush=True)\n', '    print("begun", flush=True); raise ValueError("x")\n'
    )
    url = f"sqlite:{tmp_path}/x.db"

    async def before():
        async with App(url, [account]).open(functions=False) as app:
            await app.send(account, "1", Open("ann"), correlation="c-1")

    asyncio.run(before())
    with subprocess.Popen(
        [sys.executable, "-c", program, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        line = json.loads(process.stderr.readline())
        process.terminate()
        process.communicate(timeout=20)
    assert (line["correlation"], line["function"]) == ("c-1", "handler.see")
    assert line["message"].startswith("attempt failed: handler.see, attempt 1 at account-1@1")
