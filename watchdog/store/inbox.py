"""The inbox in SQL: anybody may put a letter in, the stream's owner takes it out."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import false, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from watchdog.ports import Letter
from watchdog.store.database import Database
from watchdog.store.schema import inbox
from watchdog.store.text import from_json, to_json


async def post(
    database: Database,
    connection: AsyncConnection,
    stream: str,
    *,
    key: str,
    kind: str,
    body: Mapping[str, Any],
    at: float,
) -> bool:
    """Whether the letter is new."""
    letter = {"stream": stream, "key": key, "kind": kind, "body": to_json(body), "at": at, "done": False}
    return await database.insert_new(connection, inbox, letter)


async def waiting(connection: AsyncConnection, streams: Sequence[str]) -> Sequence[Letter]:
    """Letters not folded in yet, oldest first."""
    query = select(inbox).where(inbox.c.done == false(), inbox.c.stream.in_(streams)).order_by(inbox.c.id)
    return [
        Letter(id=row.id, stream=row.stream, key=row.key, kind=row.kind, body=from_json(row.body), at=row.at)
        for row in await connection.execute(query)
    ]


async def finish(connection: AsyncConnection, ids: Sequence[int]) -> None:
    """Mark letters as folded in; their keys stay known."""
    if ids:
        await connection.execute(update(inbox).where(inbox.c.id.in_(ids)).values(done=true()))
