import pytest

from tests.integration.cli_process import start, write_app


@pytest.fixture
def app(tmp_path):
    return write_app(tmp_path)


@pytest.fixture
def started():
    """Starts processes and ends those that a failing test leaves behind."""
    running = []

    def begin(*args):
        running.append(start(*args))
        return running[-1]

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()
