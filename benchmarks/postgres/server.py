"""A private PostgreSQL for one run of the benchmarks, and the databases in it."""

from typing import Any, NamedTuple

import psycopg

from tests.servers import Postgres

SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers")


class Database(NamedTuple):
    """One database of the server."""

    host: str
    port: int
    name: str
    user: str = "postgres"

    @property
    def conninfo(self) -> str:
        return f"host={self.host} port={self.port} user={self.user} dbname={self.name}"

    @property
    def url(self) -> str:
        return f"postgresql://{self.user}@{self.host}:{self.port}/{self.name}"


class Server:
    """The running server. What a store needs is made on first use; all of it goes with the server."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def url(self, name: str) -> str:
        """A store's URL: a schema of the first database."""
        return self._postgres.url(name.replace("-", "_"))

    def database(self, name: str) -> Database:
        """A new database."""
        made = Database("127.0.0.1", self._postgres.port, name.replace("-", "_"))
        with psycopg.connect(self._postgres.conninfo, autocommit=True) as conn:
            conn.execute(f'CREATE DATABASE "{made.name}"')
        return made

    def settings(self) -> dict[str, Any]:
        """How the server makes commits durable; no side changes any of it for itself."""
        with psycopg.connect(self._postgres.conninfo) as conn:
            return {name: conn.execute("SELECT current_setting(%s)", (name,)).fetchall()[0][0] for name in SETTINGS}
