"""One store that outlives the apps on it; each app reaches it over a link, which a test can cut."""

import asyncio
import time
from contextlib import suppress
from unittest import mock

from foldlog import App
from foldlog.connect import connect
from foldlog.engines.memory import MemoryStore


class Handled(App):
    """An app that a test starts and stops by hand, and looks into."""

    link: "Link"

    async def start(self):
        await self._start(functions=True)

    async def open_only(self):
        await self._start(functions=False)

    async def stop(self):
        await self._stop()

    def runner(self, name):
        return self._worker.runners[name]

    def next_store(self):
        return self._next.store


async def until(condition):
    """Let the loop turn until the condition holds: what makes it true has no event to wait for."""
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it never came true")
        await asyncio.sleep(0)


def quiet(link, batch):
    """Let a commit pass."""


class Link:
    """A store behind a line. `before` and `after` are called at each commit with the batch; `dead` swallows calls."""

    def __init__(self, inner, close):
        self.inner, self._close = inner, close
        self.commits = 0
        self.dead = False
        self.before = self.after = quiet

    def __getattr__(self, name):
        return getattr(self.inner, name)

    async def commit(self, batch):
        await self._alive()
        self.commits += 1
        self.before(self, batch)
        await self._alive()
        done = await self.inner.commit(batch)
        self.after(self, batch)
        await self._alive()
        return done

    async def read(self, *args, **options):
        await self._alive()
        return await self.inner.read(*args, **options)

    async def get(self, *args):
        await self._alive()
        return await self.inner.get(*args)

    async def scan(self, *args):
        await self._alive()
        return await self.inner.scan(*args)

    async def close(self):
        if self._close:
            await self.inner.close()

    async def _alive(self):
        if self.dead:
            await asyncio.Event().wait()


class Site:
    """A place for a store: `memory:` here is kept from app to app, as a file is."""

    def __init__(self, url="memory:", clock=None):
        self.url, self.clock = url, clock
        self._kept = None

    def app(self, parts, **options):
        """An app on this store, its `link` beside it."""
        with mock.patch("foldlog.system.connect", self._connect):
            app = Handled(self.url, parts, clock=self.clock, **options)
        app.link = app.next_store()
        return app

    def _connect(self, url, kinds, now):
        if not url.startswith("memory:"):
            return Link(connect(url, kinds, now), close=True)
        if self._kept is None:
            self._kept = MemoryStore(kinds, now=now)
        return Link(self._kept, close=False)


def another(url, name):
    """A store beside the one at this URL; in memory there is always another one."""
    return f"{url}_{name}" if url.startswith("postgres") else url.replace("x.db", f"{name}.db")


async def kill(app):
    """End everything that runs, as a power cut does: nothing is written any more, no lease is given back."""
    app.link.dead = True
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
    await app.link.close()


async def settled_or_dead(app):
    """Start the app and wait until it has settled or its line has gone dead; returns whether it has."""
    await app.start()
    settling = asyncio.create_task(app.settle())
    await until(lambda: settling.done() or app.link.dead)
    return app.link.dead


def crash_at(number, *, stored):
    """A hook for `before` (nothing stored) or `after` (stored, and nobody was told): the line goes dead at a commit."""

    def hook(link, batch):
        if link.commits >= number:  # several commits may be on their way
            link.dead = True

    return {"after" if stored else "before": hook}


async def turns(count=50):
    """Let the loop turn, for what needs no time but only its turn."""
    for _ in range(count):
        await asyncio.sleep(0)
