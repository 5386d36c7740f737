import hashlib

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
        place = hashlib.blake2b(f"{tmp_path}/{name}".encode(), digest_size=8).hexdigest()
        return postgres.url(f"t_{place}")

    return url
