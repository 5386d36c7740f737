from foldlog.testing import given
from project_name.task import Add, Added, Finish, Finished, task


def test_a_task_is_added_once() -> None:
    given(task).when(Add("paint", "Ann")).then(Added("paint", "Ann"))
    given(task, Added("paint", "Ann")).when(Add("paint", "Ann")).then_nothing()


def test_a_task_needs_a_title() -> None:
    given(task).when(Add(" ", "Ann")).then_rejected("task.no-title")


def test_a_task_is_finished_once() -> None:
    given(task, Added("paint", "Ann")).when(Finish()).then(Finished("paint", "Ann"))
    given(task, Added("paint", "Ann"), Finished("paint", "Ann")).when(Finish()).then_nothing()


def test_an_unknown_task_cannot_be_finished() -> None:
    given(task).when(Finish()).then_rejected("task.unknown")
