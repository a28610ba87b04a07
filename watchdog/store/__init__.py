"""The only room that speaks SQL: journal, inbox, outbox, leases and the watches' read model.

`make_store` chooses the implementation by the URL. SQLAlchemy is imported only when a database is really used, so
that verbs without a store start fast.
"""

from watchdog.errors import ConfigError
from watchdog.ports import Store
from watchdog.store.memory import MemoryStore

__all__ = ["MemoryStore", "make_store"]

_IN_MEMORY = frozenset({"memory:", "memory://", "sqlite://", "sqlite:///:memory:"})


def make_store(url: str, *, answer_s: float = 5.0) -> Store:
    """The store behind `url`; nothing is opened yet (`open()` does that).

    `sqlite:///./relative.db`, `sqlite:////absolute.db`, `postgresql://user:password@host/name` (also `postgres://`), or
    `memory:` for one that ends with the process. `answer_s` bounds how long any call waits before it raises
    `StoreUnavailableError`. Raises `ConfigError` for a URL that names no database we support.
    """
    if not url.strip():
        raise ConfigError("WATCHDOG_DATABASE_URL is empty: write a database URL such as sqlite:///./watchdog.db.")
    if url.strip() in _IN_MEMORY:
        return MemoryStore()
    # Lazily: SQLAlchemy costs 0.3 s and 25 MB, and `watchdog check` needs neither.
    from watchdog.store.address import parse_url  # noqa: PLC0415
    from watchdog.store.sql import SqlStore  # noqa: PLC0415

    return SqlStore(parse_url(url.strip()), answer_s=answer_s)
