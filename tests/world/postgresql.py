"""A PostgreSQL server of the tests' own: in a temporary directory, on a Unix socket, never as root.

The programs are those of Debian's package `postgresql`; without them `missing` says so.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

PROGRAMS = ("initdb", "pg_ctl", "postgres")
SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{folder}'
unix_socket_permissions = 0777
max_connections = 200
shared_buffers = 64MB
fsync = {fsync}
full_page_writes = {fsync}
logging_collector = off
"""


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: one.parent.name.zfill(4))
    there = [one for one in found if all((one / name).exists() for name in PROGRAMS)]
    if there:
        return there[-1]
    path = shutil.which("initdb")
    return Path(path).resolve().parent if path and shutil.which("pg_ctl") else None


def missing() -> str | None:
    """Why there can be no server here."""
    if _programs() is None:
        return "no initdb, pg_ctl and postgres: install Debian's package postgresql"
    return None


class Cluster:
    """A running server. durable: it syncs, as a real one does."""

    def __init__(self, *, durable: bool = False) -> None:
        programs = _programs()
        assert programs is not None, missing()
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._account: dict[str, int] = {}
        if os.geteuid() == 0:  # initdb does not run as root
            account = pwd.getpwnam("nobody")
            self._account = {"user": account.pw_uid, "group": account.pw_gid}
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self.folder.chmod(0o755)
        self._data = self.folder / "data"
        sync = () if durable else ("--no-sync",)
        self._run("initdb", "-D", str(self._data), "-U", "tests", "-A", "trust", "-E", "UTF8", "--locale=C", *sync)
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(SETTINGS.format(folder=self.folder, fsync="on" if durable else "off"))
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(  # noqa: S603  # Debian's
            [str(self._programs / program), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}, cwd=self.folder, extra_groups=[] if self._account else None,
            check=False, **self._account,  # type: ignore[call-overload]  # user and group
        )  # fmt: skip
        assert done.returncode == 0, done.stdout.decode(errors="replace")

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._run("pg_ctl", "-D", str(self._data), "-l", str(self.folder / "log"), "-w", "-s", "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop. mode: as pg_ctl's; immediate is like a power cut, without those of the disk."""
        self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "-s", "stop")

    def url(self) -> str:
        """What to connect to."""
        return f"postgresql://tests@/postgres?host={self.folder}"

    def empty(self) -> str:
        """The URL of a database without a queue; what was there is gone, and who was there has no connection."""
        self.cut()
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute("drop schema if exists flowengine cascade")
        return self.url()

    def cut(self) -> None:
        """End the connections of everybody."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()")

    def waiting(self) -> int:
        """Entries in the queue."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            row = connection.execute("select count(*) from flowengine.entry").fetchone()
            return int(row[0]) if row is not None else -1

    def close(self) -> None:
        """End it; nothing is left."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
