"""The contract of the store port as a test suite, for everybody who writes an engine. Needs pytest.

    class TestMine(StoreContract):
        def connect(self, tmp_path, start=0):
            return MyStore(tmp_path / "log", start=start)

Every case is a plain async function, read as a sentence: in `contract_commit` appends, versions and atomicity, in
`contract_races` writers at the same time, in `contract_read` queries and pages, in `contract_tags` tags and
conditions, in `contract_follow` the head and waiting, in `contract_rows` and `contract_scan` rows, in
`contract_refusals` what must not be taken, in `contract_life` opening and closing. A case that asks for what
`Store.capabilities` does not claim is skipped with that reason.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType

import pytest

from foldlog.ports.store import Store

# Before they are imported: pytest explains a failed assertion only in modules that it knows of.
_NAMES = ("commit", "races", "read", "tags", "follow", "rows", "scan", "refusals", "life", "words")
pytest.register_assert_rewrite(*(f"foldlog.testing.contract_{name}" for name in _NAMES))

from foldlog.testing import (  # noqa: E402 - after the registration above
    contract_commit,
    contract_follow,
    contract_life,
    contract_races,
    contract_read,
    contract_refusals,
    contract_rows,
    contract_scan,
    contract_tags,
)

StoreCase = Callable[[Store], Awaitable[None]]
LifeCase = Callable[[contract_life.Connect], Awaitable[None]]


def _cases(*modules: ModuleType) -> list[Callable[..., Awaitable[None]]]:
    """Every public async function that a module defines."""
    return [
        thing
        for module in modules
        for name, thing in vars(module).items()
        if inspect.iscoroutinefunction(thing) and thing.__module__ == module.__name__ and not name.startswith("_")
    ]


STORE_CASES: list[StoreCase] = _cases(
    contract_commit,
    contract_races,
    contract_read,
    contract_tags,
    contract_follow,
    contract_rows,
    contract_scan,
    contract_refusals,
)
LIFE_CASES: list[LifeCase] = _cases(contract_life)


class StoreContract:
    """Inherit, say how to connect, and let pytest collect it."""

    def connect(self, tmp_path: Path, start: int = 0) -> Store:
        """A closed store in `tmp_path`, empty unless there is data, whose first position is `start` + 1.

        Called again with the same `tmp_path`, a durable engine finds the same data, any other an empty store.
        """
        raise NotImplementedError("say how to connect to your store")

    @pytest.mark.parametrize("case", STORE_CASES, ids=lambda case: case.__name__)
    def test_store(self, case: StoreCase, tmp_path: Path) -> None:
        async def run() -> None:
            store = self.connect(tmp_path)
            await store.open()
            try:
                await case(store)
            finally:
                await store.close()

        asyncio.run(run())

    @pytest.mark.parametrize("case", LIFE_CASES, ids=lambda case: case.__name__)
    def test_life(self, case: LifeCase, tmp_path: Path) -> None:
        def connect(place: str = "here", start: int = 0) -> Store:
            (tmp_path / place).mkdir(exist_ok=True)
            return self.connect(tmp_path / place, start)

        asyncio.run(case(connect))  # type: ignore[arg-type]  # the cases are coroutine functions
