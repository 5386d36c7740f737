import asyncio
import logging
import os
from pathlib import Path

import pytest

LOG = Path("event-logs", "bpic2019-purchase-orders.jsonl.gz")


@pytest.fixture
def run():
    return asyncio.run


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request, tmp_path):
    """A store's URL, of each kind: nothing else of an example differs."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")()
    return "memory:" if request.param == "memory" else f"sqlite:{tmp_path}/example.db"


@pytest.fixture(autouse=True)
def _loud_again():
    """The demonstration silences the library's log; a test must not leave it so."""
    logger = logging.getLogger("foldlog")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(scope="session")
def purchase_order_log():
    folder = Path(os.environ.get("FOLDLOG_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if (folder / LOG).is_file():
        return folder / LOG
    why = (
        f"the real purchase-order log is not at {folder / LOG}; set FOLDLOG_DATA to the folder that holds {LOG.parent}/"
    )
    return pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
