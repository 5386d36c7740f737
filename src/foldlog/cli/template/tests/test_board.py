from foldlog.testing import given
from project_name.board import board
from project_name.task import Added, Finished


def test_an_added_task_is_on_its_owner_s_board() -> None:
    given(board, key="1").when(Added("paint", "Ann")).then({"1": "paint"})


def test_a_finished_task_leaves_the_board_and_an_empty_board_is_deleted() -> None:
    given(board, Added("paint", "Ann"), key="1").when(Finished("paint", "Ann")).then(None)
