"""The verbs' second way: straight to the store, where no daemon answers.

A foreground `watch` serves no API, and after it has ended nobody does; its store is still there. Reading it is always
possible. A letter in its inbox makes sense only while somebody is there to fold it in: an order that is carried out
hours later, by whoever starts next, is worse than one that is refused now.
"""

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from watchdog.core.journal import public
from watchdog.core.model import ServiceKey, State
from watchdog.core.report_text import seconds_of, span_text
from watchdog.core.text import iso
from watchdog.engine.clock import SystemClock
from watchdog.errors import ConfigError, PermanentError
from watchdog.ports import Record, Store, WatchRow
from watchdog.settings import Settings
from watchdog.store import make_store

ALIVE_S: Final = 60.0
"""A watch that somebody runs is evaluated every 15 s at the latest."""
_MOST: Final = 1000


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    """The store behind a URL, open. Raises `ConfigError` or `StoreUnavailableError`."""
    store = make_store(url)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


def has_store(settings: Settings) -> bool:
    """Whether there is a database to look into; a missing SQLite file is not made by looking."""
    url = settings.database_url.get_secret_value()
    if not url.startswith("sqlite"):
        return "database_url" in settings.model_fields_set and not url.startswith("memory:")
    from watchdog.store.address import parse_url  # noqa: PLC0415 - imports SQLAlchemy

    try:
        path = parse_url(url).path
    except ConfigError:  # ":memory:" for example: nothing of another process is in there
        return False
    return path is not None and path.is_file() and path.stat().st_size > 0


def key_of(row: WatchRow) -> ServiceKey:
    """The service of a watch."""
    return ServiceKey(project=row.project, region=row.region, name=row.service)


async def watch_in(store: Store, reference: str, *, ended: bool = False) -> WatchRow:
    """The watch that WATCH names: its id, or a SERVICE whose one open watch it is (`ended`: else its last one).

    Raises `ConfigError` when several are meant, `PermanentError` 404 when there is none.
    """
    row = await store.watch(reference)
    if row is not None:
        return row
    rows = [r for r in await store.watches(limit=_MOST) if key_of(r).matches(reference)]
    found = [r for r in rows if r.state != State.ENDED]
    if ended and not found and len({key_of(r) for r in rows}) == 1:
        found = rows[:1]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(sorted(f"{key_of(r)} ({r.id})" for r in found))
        raise ConfigError(f"{reference} has several open watches: {names}. Name one of them.")
    hint = f" Its last watch was {rows[0].id}." if rows else ""
    raise PermanentError(f"{reference} is neither a watch nor a service with an open watch.{hint}", status=404)


async def events_in(store: Store, watch_id: str) -> list[Mapping[str, Any]]:
    """A watch's journal, as the API answers it."""
    return [_event(record) async for record in store.read(f"watch/{watch_id}")]


def _event(record: Record) -> Mapping[str, Any]:
    return {
        "seq": record.seq,
        "at": iso(record.at),
        "at_unix_s": record.at,
        "seen_at": iso(record.seen_at),
        "kind": record.kind,
        "schema": record.schema,
        "body": public(record.kind, record.body),
        "late": record.late,
    }


@dataclass(frozen=True, slots=True)
class Letter:
    """An order for a watch: `kind` and `body` as the API puts them into the inbox."""

    kind: str
    body: Mapping[str, Any]


def validated(path: str, body: Mapping[str, Any]) -> None:
    """Hold an order to the API's own rules. Raises `ConfigError`."""
    from pydantic import BaseModel, ValidationError  # noqa: PLC0415 - only where no daemon does this

    from watchdog.web.bodies import MarkOrder, Signal  # noqa: PLC0415
    from watchdog.web.verbs import VERBS  # noqa: PLC0415

    posted: Mapping[str, type[BaseModel]] = {"signals": Signal, "mark": MarkOrder, **VERBS}
    model = posted[path]
    try:
        model.model_validate(dict(body))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise ConfigError(*(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in found)) from None


async def post(settings: Settings, reference: str, letter: Letter) -> Mapping[str, Any]:
    """Put an order into the inbox of whoever runs the watch; answers what the API would.

    Raises `PermanentError` when the watch has ended or nobody runs it.
    """
    clock = SystemClock()
    async with opened(settings.database_url.get_secret_value()) as store:
        row = await watch_in(store, reference)
        if row.state == State.ENDED:
            verb = letter.body.get("verb", letter.kind)
            raise PermanentError(
                f"Watch {row.id} has ended ({row.outcome}), so {verb} can no longer have an effect.", status=412
            )
        silent_s = clock.now() - _evaluated_at(row)
        if silent_s > ALIVE_S:
            raise PermanentError(
                f"Nobody runs watch {row.id}: it was evaluated last {span_text(silent_s)} ago. Start `watchdog run` or "
                "`watchdog watch`, which take it up, then say this again.",
                status=409,
            )
        key = f"watch/{row.id}:{letter.kind}:{uuid.uuid4().hex}"
        await store.post(f"watch/{row.id}", key=key, kind=letter.kind, body=letter.body, now=clock.now())
        return {"accepted": True, "watch": row.id, "repeated": False, "detail": "In the inbox."}


def _evaluated_at(row: WatchRow) -> float:
    try:
        return seconds_of(row.view.get("last_evaluation_at")) or row.opened_at
    except (TypeError, ValueError):
        return row.opened_at
