"""Keeps the tags that `rollback.tag` asks for, fenced like every write: ours by lease, by compare and swap."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from watchdog.core import tagging
from watchdog.core.model import ServiceKey, ServiceState
from watchdog.core.state import Watch
from watchdog.engine.tools import Tools
from watchdog.errors import ConflictError, PermanentError, StoreUnavailableError, TemporaryError

TRIES = 4
AGAIN_S = 0.5
LAST_S = 10.0
"""How long the end of a watch may wait for its tags to go; what is left goes with the next look, if there is one."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Tagger:
    """One service's tags."""

    tools: Tools
    key: ServiceKey
    foreign: set[str] = field(default_factory=set)
    """Watches whose tags are none of our business: unknown here, open in another process, or not to be taken away."""
    refused: set[str] = field(default_factory=set)
    """Names that Cloud Run does not take, which was said."""

    def due(self, state: ServiceState, watches: Sequence[Watch]) -> bool:
        """Whether something may be to be written. While a rollback is under way nothing else is."""
        if any(w.open and w.rollback is not None for w in watches):
            return False
        return bool(self._strange(state, watches)) or bool(
            tagging.changes(state.tags, watches, refused=self.refused),
        )

    async def reconcile(
        self, state: ServiceState, watches: Sequence[Watch], owns: Callable[[], Awaitable[bool]]
    ) -> bool:
        """Write what is missing or left over; True when it was written. A lost race is tried again at the next look."""
        ended = await self._ended(self._strange(state, watches))
        wanted = tagging.changes(state.tags, watches, ended=ended, refused=self.refused)
        if not wanted or not await owns():
            return False
        return await self._write(state, wanted)

    async def clear(self, watch: Watch, owns: Callable[[], Awaitable[bool]]) -> None:
        """Take a watch's tags away at its end."""
        try:
            async with asyncio.timeout(LAST_S):
                for _ in range(TRIES):
                    state = await self.tools.traffic.read(self.key)
                    left = tagging.changes(state.tags, (), ended={watch.id})
                    if not left or not await owns() or await self._write(state, left):
                        return
                    await self.tools.clock.sleep(AGAIN_S)
        except (TemporaryError, PermanentError, TimeoutError) as error:
            _log.warning("tags_left", service=str(self.key), watch=watch.id, error=str(error) or "no answer in time")

    async def _write(self, state: ServiceState, wanted: tagging.Changes) -> bool:
        said = {"service": str(self.key), "add": dict(wanted.add), "remove": list(wanted.remove)}
        try:
            await self.tools.traffic.tag(
                self.key, add=wanted.add, remove=wanted.remove, resource_version=state.resource_version
            )
        except ConflictError:
            _log.info("tagging_raced", **said)
            return False
        except TemporaryError as error:
            _log.warning("tagging_failed", **said, error=str(error))
            return False
        except PermanentError as error:
            self.refused |= set(wanted.add)
            self.foreign |= {i for name in wanted.remove if (i := tagging.watch_of(name)) is not None}
            _log.warning("tagging_refused", **said, error=str(error))
            return False
        _log.info("tagged", **said)
        return True

    def _strange(self, state: ServiceState, watches: Sequence[Watch]) -> set[str]:
        """Watches that tags of ours name and that are not open here."""
        known = {w.id for w in watches} | self.foreign
        return {i for t in state.tags if (i := tagging.watch_of(t.name)) is not None and i not in known}

    async def _ended(self, ids: set[str]) -> set[str]:
        """Which of them are watches of this service that our own store knows to have ended."""
        ended = set()
        for watch_id in ids:
            try:
                row = await self.tools.store.watch(watch_id)
            except StoreUnavailableError:
                continue
            mine = row is not None and (row.project, row.region, row.service) == (
                self.key.project,
                self.key.region,
                self.key.name,
            )
            if row is not None and mine and row.ended_at is not None:
                ended.add(watch_id)
            else:
                self.foreign.add(watch_id)
        return ended
