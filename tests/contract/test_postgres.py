import pytest

from foldlog.engines.postgres import PostgresStore
from foldlog.testing.contract import StoreContract


class TestPostgres(StoreContract):
    @pytest.fixture(autouse=True)
    def _place(self, postgres_url):
        self.url = postgres_url

    def connect(self, tmp_path, start=0):
        return PostgresStore(self.url(tmp_path) + (f"&start={start}" if start else ""))
