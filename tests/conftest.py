import pytest

from tests.servers import postgres_or_skip


@pytest.fixture(scope="session")
def postgres():
    """One private PostgreSQL for all tests of this process, without fsync, which would cost a third of the time."""
    with postgres_or_skip(fsync="off") as server:
        yield server


@pytest.fixture(scope="session")
def durable_postgres():
    """One with the settings of production, for modules that look at them: let their `postgres` be this one."""
    with postgres_or_skip() as server:
        yield server


@pytest.fixture
def postgres_url(postgres, tmp_path):
    """A store's URL for this test alone; `postgres_url("b")` is another one."""

    def url(name="a"):
        return postgres.url_in(tmp_path, name)

    return url
