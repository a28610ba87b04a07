"""A store on disk as a foreground `watch` leaves it, or uses it right now."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.web.views import row
from watchdog.core.text import iso
from watchdog.engine.clock import SystemClock
from watchdog.ports import Letter, NewEvent
from watchdog.store import make_store


def just_now(view: Mapping[str, Any], *, silent_s: float = 0.0) -> dict[str, Any]:
    """The view of a watch that somebody runs."""
    return {**view, "last_evaluation_at": iso(SystemClock().now() - silent_s)}


def keep(path: Path, *views: Mapping[str, Any], events: Sequence[NewEvent] = ()) -> None:
    """Write watches into an SQLite file; the events are the first one's journal."""

    async def work() -> None:
        store = make_store(f"sqlite:///{path}")
        await store.open()
        for i, view in enumerate(views):
            lease = await store.acquire(f"watch/{view['id']}", "test", ttl_s=60, now=1.0)
            assert lease is not None
            await store.append(lease, events if i == 0 else (), watch=row(view))
        await store.close()

    asyncio.run(work())


def letters(path: Path, stream: str) -> Sequence[Letter]:
    """What waits in a stream's inbox."""

    async def work() -> Sequence[Letter]:
        store = make_store(f"sqlite:///{path}")
        await store.open()
        try:
            return await store.letters([stream])
        finally:
            await store.close()

    return asyncio.run(work())
