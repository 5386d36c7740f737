"""The blocking face: from threads, with errors, interrupts and an end."""

import asyncio
import signal
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from foldlog import App, Rejected, Unavailable, handler
from foldlog.errors import Invalid
from foldlog.runtime.portal import Portal
from tests.unit.bank import Deposit, Open, Opened, account, balances


def test_all_methods_from_a_plain_program(url, monkeypatch):
    monkeypatch.setattr("foldlog.limits.PAGE", 2)
    with App(url, [account, balances]).blocking() as app:
        app.send(account, "1", Open("ann"))
        receipt = app.send(account, "1", Deposit(5))
        assert app.get(balances, "1", after=receipt) == app.get(account, "1") == 5
        app.send(account, "2", Open("ann"))
        app.settle()
        assert [found.key for found in app.find(balances)] == ["1", "2"]
        assert [event.position for event in app.read()] == [1, 2, 3]
        assert [event.version for event in app.read("account-1", backward=True, limit=1)] == [2]
        assert app.dead_letters() == []
        assert app.replay() == app.discard() == 0
        with pytest.raises(Rejected):
            app.send(account, "3", Deposit(5))
        with pytest.raises(Invalid):
            list(app.read(limit=0))


def test_many_threads_share_it(url):
    with App(url, [account, balances]).blocking() as app:
        app.send(account, "1", Open("ann"))
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: app.send(account, "1", Deposit(1)), range(40)))
        assert app.get(account, "1") == 40


def test_it_ends_with_its_block():
    with App("memory:", [account]).blocking(functions=False) as app:
        reading = app.read()
        app.send(account, "1", Open("ann"))
        next(reading)
    with pytest.raises(Unavailable, match="has ended"):
        app.send(account, "1", Open("ann"))


def test_the_error_of_the_block_and_of_the_start_come_out(tmp_path):
    with pytest.raises(ZeroDivisionError), App("memory:", [account]).blocking():
        raise ZeroDivisionError
    with pytest.raises(Exception, match="none"), App(f"sqlite:{tmp_path}/none/x.db", [account]).blocking():
        pass


def test_a_call_inside_the_loop_is_refused():
    failed = []

    @handler("see")
    async def see(event: Opened) -> None:
        try:
            app.get(account, "1")
        except RuntimeError as error:
            failed.append(str(error))

    with App("memory:", [account, see]).blocking() as app:
        app.send(account, "1", Open("ann"))
        app.settle()
    assert "would wait for itself" in failed[0]


def test_a_blocking_handler_may_use_it():
    @handler("see")
    def see(event: Opened) -> None:
        if event.owner == "ann":
            app.send(account, "2", Open("bob"))

    with App("memory:", [account, see]).blocking() as app:
        app.send(account, "1", Open("ann"))
        app.settle()
        assert app.get(account, "2") == 0


def test_an_interrupt_cancels_the_call():
    portal = Portal()
    begun, ended = threading.Event(), threading.Event()

    async def wait():
        try:
            await asyncio.sleep(0.05)  # by then the caller waits: before that there is nobody to interrupt
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    def interrupt():
        begun.wait(5)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        portal.call(wait())
    assert ended.wait(5)
    portal.close()
    portal.close()


def test_those_who_wait_when_it_closes_are_told():
    portal = Portal()
    begun, outcome = threading.Event(), []

    async def wait():
        begun.set()
        await asyncio.Event().wait()

    def call():
        try:
            portal.call(wait())
        except CancelledError as error:
            outcome.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    begun.wait(5)
    portal.close()
    thread.join(5)
    assert outcome
