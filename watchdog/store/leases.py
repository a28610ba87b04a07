"""Leases in SQL. The lease's row is also the lock that puts a stream's appends and take-overs into one order."""

from sqlalchemy import ColumnElement, and_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from watchdog.errors import LeaseLostError
from watchdog.ports import Lease
from watchdog.store.database import Database
from watchdog.store.schema import leases

_row = select(leases.c.owner, leases.c.epoch, leases.c.expires_at)


async def acquire(
    database: Database, connection: AsyncConnection, stream: str, owner: str, *, ttl_s: float, now: float
) -> Lease | None:
    """Take the lease if it is free, expired or the owner's. See `ports.Store.acquire`."""
    fresh = Lease(stream=stream, owner=owner, epoch=1, expires_at=now + ttl_s)
    query = _row.where(leases.c.stream == stream)
    # A locked row belongs to somebody who is at work right now; do not queue behind a process that may hang.
    row = (await connection.execute(query.with_for_update(skip_locked=True))).one_or_none()
    if row is None:
        values = {"stream": stream, "owner": owner, "epoch": 1, "expires_at": fresh.expires_at}
        if await database.insert_new(connection, leases, values):
            return fresh
        seen = (await connection.execute(query)).one_or_none()
        if seen is None or seen.owner != owner:
            return None
        row = (await connection.execute(query.with_for_update())).one()
    held = bool(row.owner) and row.expires_at > now
    if held and row.owner != owner:
        return None
    epoch = row.epoch if held else row.epoch + 1
    await connection.execute(
        update(leases).where(leases.c.stream == stream).values(owner=owner, epoch=epoch, expires_at=fresh.expires_at)
    )
    return Lease(stream=stream, owner=owner, epoch=epoch, expires_at=fresh.expires_at)


async def renew(connection: AsyncConnection, lease: Lease, *, ttl_s: float, now: float) -> Lease:
    """Prolong it, or raise `LeaseLostError`."""
    expires_at = now + ttl_s
    done = await connection.execute(update(leases).where(_is(lease)).values(expires_at=expires_at))
    if done.rowcount != 1:
        raise lost(lease)
    return Lease(stream=lease.stream, owner=lease.owner, epoch=lease.epoch, expires_at=expires_at)


async def release(connection: AsyncConnection, lease: Lease) -> None:
    """Give it up. The row stays, so that the epoch goes on growing."""
    await connection.execute(update(leases).where(_is(lease)).values(owner="", expires_at=0.0))


async def confirm(connection: AsyncConnection, lease: Lease) -> None:
    """Lock the lease's row until the transaction ends, or raise `LeaseLostError` when it is not ours any more."""
    query = _row.where(leases.c.stream == lease.stream).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    if row is None or row.owner != lease.owner or row.epoch != lease.epoch:
        raise lost(lease)


def lost(lease: Lease) -> LeaseLostError:
    """The one sentence for it."""
    return LeaseLostError(
        f"{lease.owner} no longer holds the lease of {lease.stream} (epoch {lease.epoch}): another process owns it now."
    )


def _is(lease: Lease) -> ColumnElement[bool]:
    return and_(leases.c.stream == lease.stream, leases.c.owner == lease.owner, leases.c.epoch == lease.epoch)
