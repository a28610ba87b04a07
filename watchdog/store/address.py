"""From WATCHDOG_DATABASE_URL to where the store is: a mistake in it is told before anything connects."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from watchdog.errors import ConfigError

_POSTGRESQL = frozenset({"postgresql", "postgres", "postgresql+psycopg"})
_SQLITE = frozenset({"sqlite", "sqlite+aiosqlite"})
_EXAMPLES = "write sqlite:///./watchdog.db, or postgresql://user:password@host/name for replicas"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A database that we can talk to. `label` names it in sentences for people and holds no password."""

    url: URL
    label: str
    path: Path | None = None
    """The file of an SQLite database, None for PostgreSQL."""


def parse_url(text: str) -> Address:
    """The address behind a URL. Raises `ConfigError` naming what is wrong with it, never its password."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as fault:  # ValueError: a port that is no number
        raise ConfigError(f"WATCHDOG_DATABASE_URL is not a database URL: {_EXAMPLES}.") from fault
    if url.drivername in _SQLITE:
        return _sqlite(url)
    if url.drivername in _POSTGRESQL:
        return _postgresql(url)
    raise ConfigError(f"WATCHDOG_DATABASE_URL names {url.drivername!r}, which is not supported: {_EXAMPLES}.")


def _sqlite(url: URL) -> Address:
    if url.host:
        raise ConfigError(
            f"WATCHDOG_DATABASE_URL has the host {url.host!r} where a file is expected: "
            "an SQLite URL has three slashes before a relative path, four before an absolute one."
        )
    if not url.database:
        raise ConfigError(f"WATCHDOG_DATABASE_URL names no file: {_EXAMPLES}.")
    if url.query:
        raise ConfigError(
            f"WATCHDOG_DATABASE_URL has parameters ({', '.join(sorted(url.query))}) that the store does not take: "
            "leave out everything from the question mark on."
        )
    return Address(url=url.set(drivername="sqlite+aiosqlite"), label=url.database, path=Path(url.database).absolute())


def _postgresql(url: URL) -> Address:
    if not url.database:
        raise ConfigError(f"WATCHDOG_DATABASE_URL names no database after the host: {_EXAMPLES}.")
    hosts = url.query.get("host", url.host or "the local socket")
    host = hosts if isinstance(hosts, str) else ",".join(hosts)
    port = f":{url.port}" if url.port else ""
    return Address(url=url.set(drivername="postgresql+psycopg"), label=f"{url.database} on {host}{port}")
