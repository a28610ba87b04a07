"""The outbox in SQL: deliveries in the order in which they were written, and what channels want remembered."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select, func, select, tuple_, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from watchdog.ports import Delivery, Receipt
from watchdog.store.database import Database
from watchdog.store.schema import DEAD, DELIVERED, PENDING, outbox, thread_memory
from watchdog.store.text import clean, from_json, to_json


async def put(database: Database, connection: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
    """Add what is new; a key that the channel has already is left as it is."""
    if deliveries:
        rows = [
            {
                "key": delivery.key,
                "channel": delivery.channel,
                "thread": delivery.thread,
                "kind": delivery.kind,
                "created_at": delivery.created_at,
                "body": to_json(delivery.body),
                "state": PENDING if delivery.sent is None else DELIVERED,
                "attempts": 0,
                "due_at": delivery.created_at,
                "settled_at": None if delivery.sent is None else delivery.created_at,
                "error": "",
                "provider_id": clean(delivery.sent.provider_id) if delivery.sent is not None else "",
            }
            for delivery in deliveries
        ]
        await connection.execute(database.insert(outbox).on_conflict_do_nothing(), rows)
        for delivery in deliveries:
            if delivery.sent is not None:
                await _remember(database, connection, delivery.channel, delivery.thread, delivery.sent)


async def due(connection: AsyncConnection, channel: str, *, now: float, limit: int) -> Sequence[Delivery]:
    """The oldest pending delivery of each thread, where it is due."""
    heads = (
        select(func.min(outbox.c.id))
        .where(outbox.c.state == PENDING, outbox.c.channel == channel)
        .group_by(outbox.c.thread)
    )
    query = select(outbox).where(outbox.c.id.in_(heads), outbox.c.due_at <= now).order_by(outbox.c.id).limit(limit)
    return await _deliveries(connection, query)


async def undelivered(connection: AsyncConnection, thread: str | None) -> Sequence[Delivery]:
    """Everything pending, oldest first."""
    query = select(outbox).where(outbox.c.state == PENDING).order_by(outbox.c.id)
    return await _deliveries(connection, query if thread is None else query.where(outbox.c.thread == thread))


async def delivered(
    database: Database, connection: AsyncConnection, key: str, channel: str, receipt: Receipt, *, now: float
) -> None:
    """Record the success. Overrules the dead letter: the provider has it."""
    place = (outbox.c.key == key, outbox.c.channel == channel)
    await connection.execute(
        update(outbox)
        .where(*place)
        .values(state=DELIVERED, settled_at=now, provider_id=clean(receipt.provider_id), error="")
    )
    thread = (await connection.execute(select(outbox.c.thread).where(*place))).scalar_one_or_none()
    if thread is not None:
        await _remember(database, connection, channel, thread, receipt)


async def _remember(
    database: Database, connection: AsyncConnection, channel: str, thread: str, receipt: Receipt
) -> None:
    if not receipt.remember:
        return
    rows = [
        {"channel": channel, "thread": thread, "name": clean(name), "value": clean(value)}
        for name, value in receipt.remember.items()
    ]
    statement = database.insert(thread_memory)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["channel", "thread", "name"], set_={"value": statement.excluded.value}
        ),
        rows,
    )


async def deferred(connection: AsyncConnection, key: str, channel: str, *, until: float, error: str) -> None:
    """One more failed attempt."""
    await connection.execute(
        update(outbox)
        .where(outbox.c.key == key, outbox.c.channel == channel, outbox.c.state == PENDING)
        .values(attempts=outbox.c.attempts + 1, due_at=until, error=clean(error))
    )


async def hasten(connection: AsyncConnection, channel: str, *, now: float) -> None:
    """No more waiting for the next try."""
    await connection.execute(
        update(outbox)
        .where(outbox.c.channel == channel, outbox.c.state == PENDING, outbox.c.due_at > now)
        .values(due_at=now)
    )


async def dead(connection: AsyncConnection, key: str, channel: str, *, error: str, now: float) -> None:
    """No more attempts."""
    await connection.execute(
        update(outbox)
        .where(outbox.c.key == key, outbox.c.channel == channel, outbox.c.state == PENDING)
        .values(state=DEAD, settled_at=now, error=clean(error))
    )


async def _deliveries(connection: AsyncConnection, query: Select[Any]) -> Sequence[Delivery]:
    rows = (await connection.execute(query)).all()
    remembered = await _memories(connection, {(row.channel, row.thread) for row in rows})
    return [_from_row(row, remembered.get((row.channel, row.thread), {})) for row in rows]


async def _memories(
    connection: AsyncConnection, threads: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], dict[str, str]]:
    wanted = list(threads)
    found: dict[tuple[str, str], dict[str, str]] = {}
    if wanted:
        place = tuple_(thread_memory.c.channel, thread_memory.c.thread)
        for row in await connection.execute(select(thread_memory).where(place.in_(wanted))):
            found.setdefault((row.channel, row.thread), {})[row.name] = row.value
    return found


def _from_row(row: Row[Any], remembered: dict[str, str]) -> Delivery:
    return Delivery(
        key=row.key,
        channel=row.channel,
        thread=row.thread,
        kind=row.kind,
        created_at=row.created_at,
        body=from_json(row.body),
        remembered=remembered,
        attempts=row.attempts,
    )
