import pytest

from foldlog.testing.kit import FakeClock
from tests.unit.site import Site

# On a server these run, too: what is appended, folded, delivered and looked up, and processes. The others are about
# time and memory.
ON_POSTGRES = {
    *("test_app", "test_deadletter", "test_deliver", "test_dropping", "test_idempotency", "test_inline", "test_outbox"),
    *("test_project", "test_rebuild", "test_serving", "test_snapshot", "test_trace", "test_travel"),
    *("test_orchestrate", "test_process_races", "test_process_versions", "test_saga", "test_schedule", "test_timers"),
}


def pytest_generate_tests(metafunc):
    own = any(mark.args[0] == "url" for mark in metafunc.definition.iter_markers("parametrize"))
    if "url" in metafunc.fixturenames and not own:
        on_server = metafunc.module.__name__.rpartition(".")[2] in ON_POSTGRES
        metafunc.parametrize("url", ["memory", "sqlite", *(["postgres"] if on_server else [])], indirect=True)


@pytest.fixture
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
