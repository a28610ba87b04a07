"""The journal in SQL: append-only, numbered without gaps within a stream.

An append whose answer never came may have been committed. The same process then offers the same events again, and they
must not stand in the journal twice: `landed` finds those that do.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from watchdog.ports import Lease, NewEvent, Record
from watchdog.store.schema import journal
from watchdog.store.text import from_json, to_json

PAGE = 1000
"""Records read in one transaction."""


async def last_seq(connection: AsyncConnection, stream: str) -> int:
    """The stream's last number, 0 when it is empty."""
    highest = select(func.max(journal.c.seq)).where(journal.c.stream == stream)
    return (await connection.execute(highest)).scalar_one() or 0


async def landed(connection: AsyncConnection, stream: str, base: int, events: Sequence[NewEvent]) -> Sequence[Record]:
    """Which of `events`, from the first one on, stand in the journal right behind `base` already."""
    found = await page(connection, stream, base)
    count = 0
    for record, event in zip(found, events, strict=False):
        if not _is(record, event):
            break
        count += 1
    return found[:count]


async def write(
    connection: AsyncConnection, lease: Lease, events: Sequence[NewEvent], *, last_seq: int
) -> Sequence[Record]:
    """Number the events and write them. The caller holds the lock on the lease's row."""
    records = [_record(lease, seq, event) for seq, event in enumerate(events, last_seq + 1)]
    if records:
        await connection.execute(insert(journal), [_values(record) for record in records])
    return records


async def page(connection: AsyncConnection, stream: str, after_seq: int) -> Sequence[Record]:
    """The next records of the stream, at most `PAGE`."""
    query = (
        select(journal).where(journal.c.stream == stream, journal.c.seq > after_seq).order_by(journal.c.seq).limit(PAGE)
    )
    return [_from_row(row) for row in await connection.execute(query)]


def _is(record: Record, event: NewEvent) -> bool:
    """Whether the record is this event; a second try may have marked it late."""
    return (record.at, record.seen_at, record.kind, record.schema, to_json(record.body)) == (
        event.at,
        event.seen_at,
        event.kind,
        event.schema,
        to_json(event.body),
    )


def _record(lease: Lease, seq: int, event: NewEvent) -> Record:
    return Record(
        stream=lease.stream,
        seq=seq,
        epoch=lease.epoch,
        at=event.at,
        seen_at=event.seen_at,
        kind=event.kind,
        schema=event.schema,
        body=event.body,
        late=event.late,
    )


def _values(record: Record) -> dict[str, object]:
    return {
        "stream": record.stream,
        "seq": record.seq,
        "epoch": record.epoch,
        "at": record.at,
        "seen_at": record.seen_at,
        "kind": record.kind,
        "schema": record.schema,
        "late": record.late,
        "body": to_json(record.body),
    }


def _from_row(row: Row[Any]) -> Record:
    return Record(
        stream=row.stream,
        seq=row.seq,
        epoch=row.epoch,
        at=row.at,
        seen_at=row.seen_at,
        kind=row.kind,
        schema=row.schema,
        body=from_json(row.body),
        late=row.late,
    )
