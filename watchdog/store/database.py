"""Connections and transactions: what differs between SQLite and PostgreSQL ends here.

A caller must never hang on a database: every unit of work runs in a task of its own and is left behind when it does
not answer in time or its caller is cancelled. It is not cancelled then (a thread in fsync cannot be interrupted, and
drivers lose connections over it), but it rolls back at the next `insist`.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakSet

import aiosqlite
import structlog
from sqlalchemy import Connection, Table, event, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from watchdog.errors import ConfigError, StoreUnavailableError
from watchdog.store.address import Address
from watchdog.store.faults import primary_code, translated

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)

_LOCK_WAIT_S: Final = 1.5
"""How long to wait for another process's lock; below the 2 s that an owner grants its lease before a rollback."""
_PUT_AWAY_S: Final = 0.3
_CLOSE_S: Final = 0.7
_BEGIN: Final = "watchdog_begin"
_WAL_TRIES: Final = 100
_WAL_PAUSE_S: Final = 0.05
_STRAY_ROUNDS: Final = 5
"""How often a task that catches its cancellation, to wait for something else, is cancelled again."""
_ABANDONED: Final[list[aiosqlite.Connection]] = []


class Database:
    """One database, and how long anybody waits for it."""

    def __init__(self, address: Address, *, answer_s: float) -> None:
        self.address = address
        self.is_sqlite = address.path is not None
        self._answer_s = answer_s
        # Built here and not in `connect`: it imports drivers and reads the file system, which an event loop must not.
        self._engine = self._sqlite_engine() if self.is_sqlite else self._postgresql_engine()
        self._is_open = False
        # SQLite has one writer. Our own writers queue here, in order, instead of polling the file's lock.
        self._turn = asyncio.Lock()
        self._left: set[asyncio.Task[Any]] = set()
        self._drivers: WeakSet[aiosqlite.Connection] = WeakSet()

    async def connect(self) -> None:
        """Allow transactions; prepare the file where there is one. `ConfigError` when its folder does not exist."""
        self._is_open = True
        if self.address.path is None:
            return
        try:
            await self._use_wal()
        except StoreUnavailableError as fault:
            folder = self.address.path.parent
            if _code(fault) == sqlite3.SQLITE_CANTOPEN and await asyncio.to_thread(_is_missing, folder):
                raise ConfigError(
                    f"WATCHDOG_DATABASE_URL points into {folder}, which does not exist: create that folder."
                ) from fault
            raise

    async def close(self) -> None:
        """Close every connection. Ends within 1.5 s, also when the database hangs."""
        self._is_open = False
        late: set[asyncio.Task[Any]] = set()
        if self._left:
            _, late = await asyncio.wait(self._left, timeout=_CLOSE_S)
            for task in late:
                task.cancel()
        disposal = asyncio.create_task(self._engine.dispose(), name="store/close")
        done, _ = await asyncio.wait({disposal}, timeout=_CLOSE_S)
        if done:
            disposal.result()
        else:
            disposal.cancel()
            _log.warning("store_not_closed", store=self.address.label)
        if late or not done:
            await self._abandon()

    async def _abandon(self) -> None:
        """Leave what hangs. asyncio waits for every task at the end of a process, and a driver's that cleans up after a
        locked database may wait for ever. SQLite's threads close their connections when they get to it, and these are
        kept until then: one that is let go of before counts as forgotten."""
        for _ in range(_STRAY_ROUNDS):
            left = [task for task in asyncio.all_tasks() if _is_drivers(task)]
            if not left:
                break
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=0.1)
        drivers = list(self._drivers)
        for driver in drivers:
            driver.stop()
        _ABANDONED.extend(drivers)

    async def answer(self, work: Coroutine[Any, Any, _T], *, within_s: float | None = None) -> _T:
        """The result of `work`, or `StoreUnavailableError` after `within_s` (default: `answer_s`).

        What was left behind may have been committed all the same.
        """
        limit_s = self._answer_s if within_s is None else within_s
        task = asyncio.create_task(work if self.is_sqlite else self._bounded(work, limit_s), name="store")
        try:
            # A little longer than `_bounded`, whose sentence is the same, to let the driver put its connection away.
            done, _ = await asyncio.wait({task}, timeout=limit_s if self.is_sqlite else limit_s + _PUT_AWAY_S)
        except asyncio.CancelledError:
            self._leave(task)
            raise
        if not done:
            self._leave(task)
            raise self._no_answer(limit_s)
        if task.cancelled():  # by whoever closes the store; whoever asked was not
            raise StoreUnavailableError(f"The store {self.address.label} was closed before it answered.")
        return task.result()

    def insist(self) -> None:
        """Called inside `work` before it changes anything: rolls back when nobody waits for the answer any more."""
        if asyncio.current_task() in self._left:
            raise StoreUnavailableError(f"The store {self.address.label} answered too late; nothing was changed.")

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that sees the newest state and commits at the end."""
        with translated(self.address):
            if not self.is_sqlite:
                async with self._opened().begin() as connection:
                    yield connection
                return
            async with self._turn:
                self.insist()
                async with self._opened("BEGIN IMMEDIATE").begin() as connection:
                    yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads."""
        with translated(self.address):
            async with self._opened().begin() as connection:
                yield connection

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """A write transaction that only one process has at a time, however long the others must wait."""
        if not self.is_sqlite:
            async with self.writing() as connection:
                await connection.execute(text("SET LOCAL lock_timeout = 0"))
                await connection.execute(text("SET LOCAL statement_timeout = 0"))
                await connection.execute(text("SELECT pg_advisory_xact_lock(7382911046550127)"))
                yield connection
            return
        with translated(self.address):
            async with self._turn, self._opened("").connect() as connection:
                await connection.execute(text("PRAGMA busy_timeout = 60000"))
                try:
                    await connection.execute(text("BEGIN IMMEDIATE"))
                    yield connection
                    await connection.commit()
                finally:
                    await connection.rollback()
                    await connection.execute(text(f"PRAGMA busy_timeout = {int(_LOCK_WAIT_S * 1000)}"))

    def insert(self, table: Table) -> "sqlite.Insert | postgresql.Insert":
        """An INSERT of this database's dialect, which knows ON CONFLICT."""
        if self.is_sqlite:
            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - 2 MB that SQLite has no use for

        return postgresql.insert(table)

    async def insert_new(self, connection: AsyncConnection, table: Table, values: Mapping[str, Any]) -> bool:
        """Insert a row unless its key is there already; whether it was new."""
        statement = self.insert(table).values(values).on_conflict_do_nothing().inline()
        return (await connection.execute(statement, execution_options={"preserve_rowcount": True})).rowcount == 1

    def _opened(self, begin: str = "BEGIN") -> AsyncEngine:
        if not self._is_open:
            raise StoreUnavailableError(f"The store {self.address.label} is not open.")
        return self._engine.execution_options(**{_BEGIN: begin}) if self.is_sqlite else self._engine

    async def _bounded(self, work: Coroutine[Any, Any, _T], limit_s: float) -> _T:
        """On a network an answer may never come, and nothing but us would end the wait."""
        try:
            async with asyncio.timeout(limit_s):
                return await work
        except TimeoutError as fault:
            raise self._no_answer(limit_s) from fault

    def _no_answer(self, limit_s: float) -> StoreUnavailableError:
        return StoreUnavailableError(f"The store {self.address.label} did not answer within {limit_s:g} s.")

    def _leave(self, task: asyncio.Task[Any]) -> None:
        self._left.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._left.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            # The caller was told "no answer" already; this is why.
            _log.warning("store_answered_late", store=self.address.label, error=str(fault))

    # --- SQLite ---

    def _sqlite_engine(self) -> AsyncEngine:
        engine = create_async_engine(
            self.address.url,
            # The driver may not open transactions by itself: it knows no BEGIN IMMEDIATE.
            connect_args={"timeout": _LOCK_WAIT_S, "isolation_level": None},
            pool_size=4,
            max_overflow=4,
            pool_timeout=self._answer_s,
            hide_parameters=True,
        )

        def prepare(connection: Any, _record: Any) -> None:
            self._drivers.add(connection.driver_connection)
            cursor = connection.cursor()
            cursor.execute("PRAGMA synchronous = NORMAL")
            cursor.execute("PRAGMA foreign_keys = ON")
            cursor.close()

        def begin(connection: Connection) -> None:
            if statement := connection.get_execution_options().get(_BEGIN, "BEGIN"):
                connection.exec_driver_sql(statement)

        event.listen(engine.sync_engine, "connect", prepare)
        event.listen(engine.sync_engine, "begin", begin)
        return engine

    async def _use_wal(self) -> None:
        """Switch the file to write-ahead logging, which it remembers.

        The switch needs the file for itself and does not wait for a lock (SQLite's busy handler is not asked), so
        processes that start at the same moment try again.
        """
        mode = ""
        for left in reversed(range(_WAL_TRIES)):
            try:
                with translated(self.address):
                    async with self._opened("").connect() as connection:
                        mode = (await connection.execute(text("PRAGMA journal_mode"))).scalar_one()
                        if mode != "wal":
                            mode = (await connection.execute(text("PRAGMA journal_mode = WAL"))).scalar_one()
                break
            except StoreUnavailableError as fault:
                if not left or _code(fault) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise
                await asyncio.sleep(_WAL_PAUSE_S)
        if mode != "wal":
            _log.warning("store_without_wal", store=self.address.label, mode=mode)

    # --- PostgreSQL ---

    def _postgresql_engine(self) -> AsyncEngine:
        wait_ms = int(self._answer_s * 1000)
        connect_args: dict[str, Any] = {
            "connect_timeout": max(2, int(self._answer_s)),
            "application_name": "watchdog",
            # A peer that vanished without a word is noticed within seconds, not after the kernel's two hours.
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": wait_ms,
            # Server-side prepared statements do not survive a transaction pooler such as PgBouncer.
            "prepare_threshold": None,
        }
        if "options" not in self.address.url.query:
            # The last one frees the rows that a vanished process had locked.
            connect_args["options"] = (
                f"-c lock_timeout={int(_LOCK_WAIT_S * 1000)} -c statement_timeout={wait_ms} "
                f"-c idle_in_transaction_session_timeout={2 * wait_ms}"
            )
        return create_async_engine(
            self.address.url,
            connect_args=connect_args,
            pool_size=4,
            max_overflow=4,
            pool_timeout=self._answer_s,
            pool_pre_ping=True,
            use_native_hstore=False,
            hide_parameters=True,
        )


def _is_drivers(task: asyncio.Task[Any]) -> bool:
    """Whether the database's driver started it by itself."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and "sqlalchemy" in Path(code.co_filename).parts


def _code(fault: StoreUnavailableError) -> int:
    """SQLite's result code behind it, 0 when it was something else."""
    cause = fault.__cause__
    return primary_code(cause.orig) if isinstance(cause, DBAPIError) and cause.orig is not None else 0


def _is_missing(folder: Path) -> bool:
    try:
        folder.stat()
    except FileNotFoundError:
        return True
    except OSError:  # it may well be there, for others
        return False
    return False
