import pytest

from foldlog.engines.sqlite import SqliteStore, merging
from foldlog.model.message import Kind
from foldlog.testing.contract import StoreContract


class TestSqlite(StoreContract):
    def connect(self, tmp_path, start=0):
        return SqliteStore(tmp_path / "log.db", kinds=Kind, start=start)


class TestSqliteWithFullIndexes(TestSqlite):
    """Everything again while nearly all entries of the indexes have moved on, and some have not."""

    @pytest.fixture(autouse=True)
    def _few_new_entries(self, monkeypatch):
        monkeypatch.setattr(merging, "NEW_ENTRIES", 3)
        monkeypatch.setattr(merging, "STRETCH", 2)
