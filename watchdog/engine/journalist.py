"""Writes one stream as its lease holder: events, messages and the read model in one transaction, without blocking.

While the store does not answer, events wait in memory and are appended later, marked late; messages are sent all the
same (`held`).
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from watchdog.engine.clock import wait_for_event
from watchdog.engine.tools import Tools
from watchdog.errors import LeaseLostError, StoreUnavailableError, TemporaryError
from watchdog.ports import Delivery, Lease, NewEvent, WatchRow

_log = structlog.get_logger(__name__)
BACKLOG = 20_000
"""Events kept while the store is away; about half a day of probes."""
RETRY_S = 0.5
"""How long to wait between tries while it is away."""
LAST_S = 0.5
"""For each of the two last steps of a shutdown; the whole process has 5 s."""


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
    _watch: WatchRow | None = None
    _away: asyncio.Event = field(default_factory=asyncio.Event)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _unrenewed: bool = False
    """Whether the last renewal failed: said once."""

    @property
    def backlog(self) -> int:
        """Events, messages and views that the store has not taken yet."""
        return len(self._events) + len(self._deliveries) + len(self._letters) + (self._watch is not None)

    async def append(
        self,
        events: Sequence[NewEvent],
        *,
        deliveries: Sequence[Delivery] = (),
        watch: WatchRow | None = None,
        letters: Sequence[int] = (),
    ) -> bool:
        """Append within the store's patience; False when it is done later, by `keep`. Raises `LeaseLostError`.

        The store is waited for once: while it is away nothing waits again, so it delays a rollback by its patience at
        most (DESIGN section 7).
        """
        self._events += events
        self._deliveries += deliveries
        self.tools.mail.offer(deliveries)
        self._letters += letters
        self._watch = watch or self._watch
        if not self.backlog:
            return True
        if self.lost.is_set():
            self.tools.mail.forget(self._deliveries)
            raise LeaseLostError(f"another process owns {self.lease.stream}")
        if self._away.is_set():
            self.tools.mail.strand(deliveries)
            return False
        return await self._write()

    async def _write(self) -> bool:
        """Offer everything that waits, in one transaction; one at a time, so that nothing is offered twice at once."""
        async with self._turn:
            return await self._offer()

    async def _offer(self) -> bool:
        # Others may add to the lists while the store thinks.
        events, deliveries, letters = tuple(self._events), tuple(self._deliveries), tuple(self._letters)
        watch = self._watch
        # What was sent while the store was away goes in as delivered, so that no process sends it again.
        told = [replace(d, sent=self.tools.mail.receipt(d)) for d in deliveries]
        try:
            async with asyncio.timeout(self.tools.store_patience_s):
                await self.tools.store.append(self.lease, events, deliveries=told, watch=watch, letters_done=letters)
        except LeaseLostError:
            self.lost.set()
            self.tools.mail.forget(deliveries)
            raise
        except (StoreUnavailableError, TimeoutError) as error:
            self._keep(error)
            return False
        del self._events[: len(events)], self._deliveries[: len(deliveries)], self._letters[: len(letters)]
        self._watch = None if self._watch is watch else self._watch
        if self._away.is_set():
            _log.info("store_answers", stream=self.lease.stream, appended_late=len(events))
            if not self.backlog:  # else there is more to bring up
                self._away.clear()
        self.tools.metrics.store_up.set(1)
        if deliveries:
            self.tools.mail.stored(told)
            self.tools.wake_outbox()
        return True

    def _keep(self, error: Exception) -> None:
        if not self._away.is_set():
            _log.error(
                "store_away",
                stream=self.lease.stream,
                error=str(error) or "no answer in time",
                effect="watching, rolling back and paging go on; events wait until it answers",
            )
        self._away.set()
        self.tools.mail.strand(self._deliveries)
        self.tools.metrics.store_up.set(0)
        if len(self._events) > BACKLOG:
            _log.error("journal_backlog_full", stream=self.lease.stream, dropped=len(self._events) - BACKLOG)
        self._events = [replace(e, late=True) for e in self._events[-BACKLOG:]]

    async def owns(self) -> bool:
        """Whether the stream is still ours: asked before a write, within the store's patience. No answer counts as
        yes: the compare and swap on Cloud Run is the fence (DESIGN section 7)."""
        if self.lost.is_set():
            return False
        if self._away.is_set():
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
        """Renew the lease every third of its time, and bring up what waits for the store, until the lease is lost."""
        clock, every = self.tools.clock, self.tools.lease_ttl_s / 3
        renew_at = clock.monotonic() + every
        while not self.lost.is_set():
            await wait_for_event(self._away, clock, max(0.0, renew_at - clock.monotonic()))
            if clock.monotonic() >= renew_at:
                await self._renew(every)
                renew_at = clock.monotonic() + every
            if self._away.is_set() and not self.lost.is_set():
                await self._catch_up()
                if self._away.is_set():
                    await clock.sleep(RETRY_S)
        _log.warning("lease_lost", stream=self.lease.stream)

    async def _renew(self, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                self.lease = await self.tools.store.renew(
                    self.lease, ttl_s=self.tools.lease_ttl_s, now=self.tools.clock.now()
                )
        except LeaseLostError:
            self.lost.set()
        except (TemporaryError, TimeoutError) as error:
            if not (self._away.is_set() or self._unrenewed):
                _log.warning("lease_not_renewed", stream=self.lease.stream, error=str(error) or "no answer in time")
            self._unrenewed = True
        else:
            self._unrenewed = False

    async def _catch_up(self) -> None:
        with contextlib.suppress(LeaseLostError):  # said by `lost`
            while self._away.is_set():
                self._events = [e if e.late else replace(e, late=True) for e in self._events]
                if not await self._write():
                    return

    async def release(self) -> None:
        """Append what still waits, and let another process take the stream at once; `LAST_S` for each at most."""
        if self._away.is_set() and self._events:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_S):
                    await self._catch_up()
        if self._away.is_set():
            _log.error("journal_left_behind", stream=self.lease.stream, events_lost=len(self._events))
            return  # the lease runs out by itself
        try:
            async with asyncio.timeout(LAST_S):
                await self.tools.store.release(self.lease)
        except (StoreUnavailableError, TimeoutError) as error:
            _log.warning("lease_not_released", stream=self.lease.stream, error=str(error) or "no answer in time")
