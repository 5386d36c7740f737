import pytest

from foldlog.testing import given
from project_name.notice import notice
from project_name.task import Finished


def test_the_owner_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    given(notice).when(Finished("paint", "Ann")).then_nothing()
    assert capsys.readouterr().out.startswith("to Ann: 'paint' is done")
