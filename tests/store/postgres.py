"""A real PostgreSQL on a free loopback port, from Debian's binaries, gone with the test session."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

SUPERUSER = "watchdog"


class NotHereError(Exception):
    """Why this machine cannot run PostgreSQL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    port: int

    def url(self, database: str) -> str:
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """An empty database's URL."""
        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def clear(self, url: str) -> None:
        """Empty every table of ours: ten times faster than a new database."""
        with psycopg.connect(url, autocommit=True) as connection:
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            )
            for (table,) in tables.fetchall():
                connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))


@contextmanager
def running() -> Iterator[Server]:
    """Start one. Raises `NotHereError` where there are no binaries, or nobody whom they would run for."""
    binaries = _binaries()
    # It refuses to run as root, and its folder must be reachable for whom it runs as: not below pytest's own.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="watchdog-pg-"))
    try:
        if user:
            shutil.chown(folder, user)
        data = folder / "data"
        subprocess.run(
            [binaries / "initdb", "-A", "trust", "-U", SUPERUSER, "-E", "UTF8", "--no-sync", "-D", data],
            check=True,
            capture_output=True,
            user=user,
        )
        with _serving(binaries, data, folder, user) as server:
            yield server
    finally:
        shutil.rmtree(folder)


@contextmanager
def _serving(binaries: Path, data: Path, folder: Path, user: str | None) -> Iterator[Server]:
    port = _free_port()
    log = folder / "log"
    command: list[str | Path] = [binaries / "pg_ctl", "-D", data, "-l", log, "-w", "-t", "30"]
    options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off -c max_connections=100"
    subprocess.run([*command, "-o", options, "start"], check=True, stdout=subprocess.DEVNULL, user=user)
    try:
        yield Server(port=port)
    finally:
        subprocess.run([*command, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL, user=user)


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not found:
        raise NotHereError("no /usr/lib/postgresql/*/bin/initdb: apt-get install postgresql")
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            raise NotHereError("PostgreSQL refuses to run as root, and there is no user postgres") from None
    return found[-1].parent


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
