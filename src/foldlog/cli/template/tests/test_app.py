"""The whole app, on a store in memory."""

import asyncio

from foldlog import App
from foldlog.testing import FakeClock
from project_name.app import parts
from project_name.board import board
from project_name.task import Add, Finish, task


async def boards() -> list[dict[str, str] | None]:
    async with App("memory:", parts, clock=FakeClock()) as app:
        await app.send(task, "1", Add("paint", "Ann"))
        second = await app.send(task, "2", Add("sand", "Ann"))
        before = await app.get(board, "Ann", after=second)
        await app.send(task, "1", Finish())
        await app.settle()
        return [before, await app.get(board, "Ann")]


def test_a_task_goes_from_command_to_board() -> None:
    assert asyncio.run(boards()) == [{"1": "paint", "2": "sand"}, {"2": "sand"}]
