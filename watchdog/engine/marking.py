"""Writes a person's mark on an ended watch: into the stream of its service, and into the watch's read model.

The watch's own stream stays closed: its writer is gone, and its journal is what the watch was decided from. The
service's stream has a writer for as long as anybody keeps the service, and one who is not kept lends it to whoever
marks: one writer a stream in any case.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from watchdog.core import service as facts
from watchdog.core.marks import Mark, fact, marked, why_not
from watchdog.core.model import ServiceKey
from watchdog.core.service import Fact
from watchdog.errors import PermanentError
from watchdog.ports import NewEvent, Store, WatchRow

KIND: Final = "mark"
"""The kind of the letter; its body is `{"watch", "mark", "by", "reason"}`."""
_LENT_S: Final = 15.0


def mark_of(body: Mapping[str, Any], at: float) -> Mark:
    """The mark in a letter's body."""
    return Mark(at=at, word=str(body["mark"]), by=str(body.get("by") or ""), reason=str(body.get("reason") or ""))


def carried_out(row: WatchRow | None, body: Mapping[str, Any], at: float) -> tuple[Fact, WatchRow]:
    """What a letter becomes. Raises `PermanentError` for what cannot be marked."""
    if row is None:
        raise PermanentError(f"there is no watch {body.get('watch')}", status=404)
    mark = mark_of(body, at)
    refused = why_not(row.view, mark.word)
    if refused is not None:
        raise PermanentError(refused, status=412)
    return fact(row.view, mark), replace(row, view=marked(row.view, mark))


async def write(store: Store, row: WatchRow, body: Mapping[str, Any], *, owner: str, now: float) -> bool:
    """Write the mark where nobody keeps the service; False when somebody does, who then has to be asked by letter."""
    key = ServiceKey(project=row.project, region=row.region, name=row.service)
    new, shown = carried_out(row, body, now)
    lease = await store.acquire(facts.stream(key), owner, ttl_s=_LENT_S, now=now)
    if lease is None:
        return False
    try:
        event = NewEvent(at=new.at, seen_at=now, kind=new.kind, schema=facts.SCHEMA, body=new.body)
        await store.append(lease, [event], watch=shown)
    finally:
        await store.release(lease)
    return True
