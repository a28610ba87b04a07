"""Writes one stream as its lease holder: events, messages and the read model in one transaction, never blocking an action.

While the store does not answer, events wait in memory and are appended later, marked late.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from watchdog.engine.tools import Tools
from watchdog.errors import LeaseLostError, StoreUnavailableError, TemporaryError
from watchdog.ports import Delivery, Lease, NewEvent, WatchRow

_log = structlog.get_logger(__name__)
BACKLOG = 20_000
"""Events kept while the store is away; about half a day of probes."""


@dataclass(slots=True)
class Journalist:
    """The writer of one stream."""

    tools: Tools
    lease: Lease
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when another process has taken the stream: from then on we are powerless."""
    _events: list[NewEvent] = field(default_factory=list)
    _deliveries: list[Delivery] = field(default_factory=list)
    _letters: list[int] = field(default_factory=list)
    _away: bool = False

    @property
    def backlog(self) -> int:
        """Events that the store has not taken yet."""
        return len(self._events)

    async def append(
        self,
        events: Sequence[NewEvent],
        *,
        deliveries: Sequence[Delivery] = (),
        watch: WatchRow | None = None,
        letters: Sequence[int] = (),
    ) -> bool:
        """Append within the store's patience; False when it must be done later. Raises `LeaseLostError`."""
        self._events += events
        self._deliveries += deliveries
        self._letters += letters
        if not (self._events or self._deliveries or self._letters or watch is not None):
            return True
        try:
            async with asyncio.timeout(self.tools.store_patience_s):
                await self.tools.store.append(
                    self.lease,
                    self._events,
                    deliveries=self._deliveries,
                    watch=watch,
                    letters_done=self._letters,
                )
        except LeaseLostError:
            self.lost.set()
            raise
        except (StoreUnavailableError, TimeoutError) as error:
            self._keep(error)
            return False
        if self._away:
            _log.info("store_answers", stream=self.lease.stream, appended_late=len(self._events))
        self._away = False
        self.tools.metrics.store_up.set(1)
        woke = bool(self._deliveries)
        self._events, self._deliveries, self._letters = [], [], []
        if woke:
            self.tools.wake_outbox()
        return True

    def _keep(self, error: Exception) -> None:
        if not self._away:
            _log.error("store_away", stream=self.lease.stream, error=str(error) or "no answer in time")
        self._away = True
        self.tools.metrics.store_up.set(0)
        if len(self._events) > BACKLOG:
            _log.error("journal_backlog_full", stream=self.lease.stream, dropped=len(self._events) - BACKLOG)
        self._events = [replace(e, late=True) for e in self._events[-BACKLOG:]]

    async def owns(self) -> bool:
        """Whether the stream is still ours: asked before a write, within the store's patience. No answer counts as
        yes: the compare and swap on Cloud Run is the fence (DESIGN section 7)."""
        if self.lost.is_set():
            return False
        if self._away:
            return True  # its patience is used up already
        try:
            async with asyncio.timeout(self.tools.store_patience_s):
                self.lease = await self.tools.store.renew(
                    self.lease, ttl_s=self.tools.lease_ttl_s, now=self.tools.clock.now()
                )
        except LeaseLostError:
            self.lost.set()
            return False
        except (StoreUnavailableError, TimeoutError):
            return True
        return True

    async def keep(self) -> None:
        """Renew the lease every third of its time, until it is lost."""
        while True:
            await self.tools.clock.sleep(self.tools.lease_ttl_s / 3)
            try:
                async with asyncio.timeout(self.tools.lease_ttl_s / 3):
                    self.lease = await self.tools.store.renew(
                        self.lease, ttl_s=self.tools.lease_ttl_s, now=self.tools.clock.now()
                    )
            except LeaseLostError:
                _log.warning("lease_lost", stream=self.lease.stream)
                self.lost.set()
                return
            except (TemporaryError, TimeoutError) as error:
                _log.warning("lease_not_renewed", stream=self.lease.stream, error=str(error) or "no answer in time")

    async def release(self) -> None:
        """Let another process take the stream at once."""
        try:
            async with asyncio.timeout(self.tools.store_patience_s):
                await self.tools.store.release(self.lease)
        except (StoreUnavailableError, TimeoutError) as error:
            _log.warning("lease_not_released", stream=self.lease.stream, error=str(error) or "no answer in time")
