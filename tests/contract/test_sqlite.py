from foldlog.engines.sqlite import SqliteStore
from foldlog.model.message import Kind
from foldlog.testing.contract import StoreContract


class TestSqlite(StoreContract):
    def connect(self, tmp_path, start=0):
        return SqliteStore(tmp_path / "log.db", kinds=Kind, start=start)
