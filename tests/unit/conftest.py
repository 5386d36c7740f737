import pytest

from foldlog.testing.kit import FakeClock
from tests.unit.site import Site


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request, tmp_path):
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")()
    return "memory:" if request.param == "memory" else f"sqlite:{tmp_path}/x.db"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def site(url, clock):
    return Site(url, clock)
