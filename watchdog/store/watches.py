"""The watches' read model in SQL, and the retention that ends them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from watchdog.ports import WatchRow
from watchdog.store.database import Database
from watchdog.store.schema import inbox, journal, leases, outbox, thread_memory, watches
from watchdog.store.text import from_json, to_json

PRUNE_BATCH = 50
"""Watches deleted in one transaction, so that nobody waits long for the lock."""


async def upsert(database: Database, connection: AsyncConnection, watch: WatchRow) -> None:
    """Bring the row up to date."""
    values = {
        "id": watch.id,
        "project": watch.project,
        "region": watch.region,
        "service": watch.service,
        "revision": watch.revision,
        "state": watch.state,
        "outcome": watch.outcome,
        "opened_at": watch.opened_at,
        "ended_at": watch.ended_at,
        "view": to_json(watch.view),
    }
    statement = database.insert(watches).values(values)
    changes = {name: statement.excluded[name] for name in values if name != "id"}
    await connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=changes))


async def newest(
    connection: AsyncConnection, *, open_only: bool, limit: int, of: tuple[str, str] | None = None
) -> Sequence[WatchRow]:
    """Newest first."""
    query = select(watches).order_by(watches.c.opened_at.desc(), watches.c.id.desc()).limit(limit)
    if open_only:
        query = query.where(watches.c.ended_at.is_(None))
    if of is not None:
        query = query.where(watches.c.project == of[0], watches.c.service == of[1])
    return [_from_row(row) for row in await connection.execute(query)]


async def one(connection: AsyncConnection, watch_id: str) -> WatchRow | None:
    """One by its id."""
    row = (await connection.execute(select(watches).where(watches.c.id == watch_id))).one_or_none()
    return None if row is None else _from_row(row)


async def prune(connection: AsyncConnection, *, ended_before: float) -> int:
    """Delete up to `PRUNE_BATCH` watches that ended before, and all that hangs on them; how many it found."""
    query = select(watches.c.id).where(watches.c.ended_at < ended_before).order_by(watches.c.ended_at)
    ids = (await connection.execute(query.limit(PRUNE_BATCH))).scalars().all()
    if ids:
        streams = [f"watch/{watch_id}" for watch_id in ids]
        for statement in (
            delete(journal).where(journal.c.stream.in_(streams)),
            delete(inbox).where(inbox.c.stream.in_(streams)),
            delete(leases).where(leases.c.stream.in_(streams)),
            delete(outbox).where(outbox.c.thread.in_(ids)),
            delete(thread_memory).where(thread_memory.c.thread.in_(ids)),
            delete(watches).where(watches.c.id.in_(ids)),
        ):
            await connection.execute(statement)
    return len(ids)


def _from_row(row: Row[Any]) -> WatchRow:
    return WatchRow(
        id=row.id,
        project=row.project,
        region=row.region,
        service=row.service,
        revision=row.revision,
        state=row.state,
        outcome=row.outcome,
        opened_at=row.opened_at,
        ended_at=row.ended_at,
        view=from_json(row.view),
    )
