"""What a driver says, as one sentence of ours: callers see `StoreUnavailableError` and never a traceback of SQL.

SQLite tells its faults apart by result code (https://www.sqlite.org/rescode.html), PostgreSQL by SQLSTATE
(https://www.postgresql.org/docs/current/errcodes-appendix.html).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from watchdog.errors import StoreUnavailableError
from watchdog.store.address import Address

_SQLITE: Final = {
    sqlite3.SQLITE_BUSY: "is locked by another process (find it with: fuser {label})",
    sqlite3.SQLITE_LOCKED: "is locked by another connection",
    sqlite3.SQLITE_FULL: "has no space left on its disk: free some; what was stored before is safe",
    sqlite3.SQLITE_READONLY: "is read-only: give this user write access to the file and to its folder",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check that the folder exists and that this user may write there",
    sqlite3.SQLITE_PERM: "may not be accessed by this user: check the file's permissions",
    sqlite3.SQLITE_IOERR: "cannot be read or written, the disk reports an error or a limit: check it with dmesg and df",
    sqlite3.SQLITE_NOTADB: "is not an SQLite database: point WATCHDOG_DATABASE_URL to another file",
    sqlite3.SQLITE_CORRUPT: "is damaged: move it away and restore a copy, or start with an empty one",
}
_POSTGRESQL: Final = {
    "53100": "has no space left on its disk: free some; what was stored before is safe",
    "25006": "is read-only (a standby?): point WATCHDOG_DATABASE_URL to the primary",
    "55P03": "is locked by another process",
    "57014": "took too long and stopped the query",
    "57P01": "is shutting down",
    "57P03": "is starting up",
}


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Raise what the database or the network said as `StoreUnavailableError`, with the cause attached for the log."""
    try:
        yield
    except PoolTimeoutError as fault:
        raise StoreUnavailableError(f"The store {address.label} is busy: no connection came free in time.") from fault
    except DBAPIError as fault:
        raise StoreUnavailableError(sentence(fault.orig or fault, address)) from fault
    except SQLAlchemyError as fault:
        raise StoreUnavailableError(f"The store {address.label} failed: {_first_line(fault)}.") from fault
    except OSError as fault:
        raise StoreUnavailableError(f"The store {address.label} cannot be reached: {_first_line(fault)}.") from fault


def sentence(fault: BaseException, address: Address) -> str:
    """One sentence for a person: which store, what happened, what to do where we know it."""
    known = None
    if isinstance(fault, sqlite3.Error):
        known = _SQLITE.get(primary_code(fault))
    elif sqlstate := getattr(fault, "sqlstate", None):
        known = _POSTGRESQL.get(sqlstate)
    if known is None:
        return f"The store {address.label} did not do what it was asked: {_first_line(fault)}."
    return f"The store {address.label} {known.format(label=address.label)}."


def primary_code(fault: BaseException) -> int:
    """SQLite's primary result code (the low byte of the extended one), 0 when the fault carries none."""
    return int(getattr(fault, "sqlite_errorcode", 0) or 0) & 0xFF


def _first_line(fault: BaseException) -> str:
    lines = str(fault).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(fault).__name__
