import pytest

from foldlog import projection
from foldlog.errors import Misconfigured


def count(row: int | None, event: int) -> int:
    return (row or 0) + 1


def test_a_projection_is_called_as_the_fold_it_is():
    counts = projection("counts", version=2)(count)
    assert counts(None, 5) == 1
    assert counts(1, 5) == 2
    assert counts.table == "view.counts.2"
    assert repr(counts) == "Projection('counts', version=2)"


@pytest.mark.parametrize("name", ["", "Counts", "1a", "a b", "a.b", "a" * 65, None])
def test_a_bad_name_is_refused(name):
    with pytest.raises(Misconfigured, match="bad name"):
        projection(name)(count)
    with pytest.raises(Misconfigured, match="bad name"):
        projection("counts", indexes=(name,))(count)


@pytest.mark.parametrize("indexes", ["ab", ("a", "a")])
def test_bad_indexes_are_refused(indexes):
    with pytest.raises(Misconfigured, match="different field names"):
        projection("counts", indexes=indexes)(count)


@pytest.mark.parametrize("version", [0, -1, True, "1", 1.0])
def test_a_bad_version_is_refused(version):
    with pytest.raises(Misconfigured, match="whole number from 1"):
        projection("counts", version=version)(count)


def test_inline_rows_are_keyed_by_their_stream():
    assert projection("counts", inline=True)(count).inline
    with pytest.raises(Misconfigured, match="leave key= out"):
        projection("counts", inline=True, key=str)(count)
