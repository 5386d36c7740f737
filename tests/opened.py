"""A store that is open for as long as a test needs it."""

from contextlib import asynccontextmanager


@asynccontextmanager
async def opened(store):
    await store.open()
    try:
        yield store
    finally:
        await store.close()
