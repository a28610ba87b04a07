"""Explains watches on request: journals folded again, in a thread, so that watching goes on meanwhile.

One at a time. The last few are kept where they stood, so a page that asks again costs only what is new.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from watchdog.core.explain import Explainer
from watchdog.core.explain_view import view
from watchdog.core.journal import JournalError, decode
from watchdog.errors import ConfigError
from watchdog.ports import Record, Store
from watchdog.web.lookup import watch_of, watch_stream
from watchdog.web.problems import Problem
from watchdog.web.services import services_of

KEPT: Final = 4
PATIENCE_S: Final = 5.0
"""How long a report waits for the explanation in it."""
CHUNK: Final = 1000
"""Records handed to the thread at once: no more of a journal is in memory."""


@dataclass(slots=True)
class _Folded:
    """A journal folded up to a record."""

    explainer: Explainer = field(default_factory=Explainer)
    seq: int = 0

    def fold(self, records: Sequence[Record]) -> None:
        for record in records:
            self.explainer.fold(decode(record.kind, record.schema, record.at, record.body))
            self.seq = record.seq

    def view(self) -> dict[str, Any]:
        return view(self.explainer.explanation())


@dataclass(slots=True)
class Explaining:
    """The explanations under way and the last few that were made.

    A client that leaves or loses patience does not end one: the next to ask finds it done.
    """

    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _kept: OrderedDict[str, _Folded] = field(default_factory=OrderedDict)
    _going_on: dict[str, asyncio.Task[dict[str, Any]]] = field(default_factory=dict)

    async def of(self, store: Store, watch_id: str) -> dict[str, Any]:
        """The explanation of a watch as JSON-able values. Raises `JournalError` or `ConfigError` for a journal that
        this version cannot read, and what the store raises."""
        task = self._going_on.get(watch_id)
        if task is None:
            task = asyncio.create_task(self._make(store, watch_id), name=f"explain/{watch_id}")
            task.add_done_callback(lambda done: self._forget(watch_id, done))
            self._going_on[watch_id] = task
        return await asyncio.shield(task)

    def _forget(self, watch_id: str, done: asyncio.Task[dict[str, Any]]) -> None:
        del self._going_on[watch_id]
        if not done.cancelled():
            done.exception()  # whoever asked was told; nobody may be left to ask

    async def _make(self, store: Store, watch_id: str) -> dict[str, Any]:
        async with self._turn:
            folded = self._kept.pop(watch_id, None) or _Folded()  # put back when all went well
            waiting: list[Record] = []
            async for record in store.read(watch_stream(watch_id), after_seq=folded.seq):
                waiting.append(record)
                if len(waiting) >= CHUNK:
                    await asyncio.to_thread(folded.fold, waiting)
                    waiting = []
            await asyncio.to_thread(folded.fold, waiting)
            found = await asyncio.to_thread(folded.view)
            self._kept[watch_id] = folded
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return found

    async def close(self) -> None:
        """End what is under way."""
        tasks = list(self._going_on.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


EXPLAINING = web.AppKey("explaining", Explaining)


async def explain(request: web.Request) -> web.Response:
    """Why it was rolled back, or why not."""
    row = await watch_of(request)
    try:
        return web.json_response(await request.app[EXPLAINING].of(services_of(request).store, row.id))
    except (JournalError, ConfigError) as error:
        raise Problem(500, f"Watch {row.id} cannot be explained: {error}.") from None


async def for_report(request: web.Request, watch_id: str) -> dict[str, Any] | None:
    """The explanation that a report tells from; None where it takes too long (the next report has it) or where the
    journal cannot be read: a report is told in any case."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await request.app[EXPLAINING].of(services_of(request).store, watch_id)
    except (JournalError, ConfigError, TimeoutError):
        return None
