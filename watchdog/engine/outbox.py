"""Carries messages from the outbox to their channels: at least once, in order within a thread, never one channel
behind another.

One worker a channel and, by a lease, one process a channel: a foreground `watch` beside a daemon on the same store does
not page twice. Nothing is claimed before it is sent; what a killed process had not recorded is simply still pending.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from watchdog.engine.carrier import Carrier, OutboxHooks, OutboxSettings, Postroom
from watchdog.engine.clock import wait_for_event
from watchdog.engine.tools import Mail
from watchdog.errors import TemporaryError
from watchdog.ports import Clock, Delivery, Jitter, Notifier, Receipt, Store

__all__ = ["Outbox", "OutboxHooks", "OutboxSettings"]

_log = structlog.get_logger(__name__)


class Outbox(Mail):
    """All channels' workers. `run()` is the task; the other methods may be called while it runs."""

    def __init__(
        self,
        store: Store,
        notifiers: Sequence[Notifier],
        clock: Clock,
        *,
        owner: str,
        jitter: Jitter,
        settings: OutboxSettings | None = None,
        hooks: OutboxHooks | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._room = Postroom(
            store=store,
            clock=clock,
            owner=owner,
            jitter=jitter,
            settings=settings or OutboxSettings(),
            hooks=hooks or OutboxHooks(),
        )
        self._carriers = [Carrier(self._room, notifier) for notifier in notifiers]

    def wake(self) -> None:
        """Something was appended: look now."""
        for carrier in self._carriers:
            carrier.wake()

    def offer(self, deliveries: Sequence[Delivery]) -> None:
        """They are on their way into the store; sent from memory if it does not answer."""
        for carrier in self._carriers:
            carrier.held.offer([d for d in deliveries if d.channel == carrier.channel])

    def strand(self, deliveries: Sequence[Delivery]) -> None:
        """The store did not take them: send them without it, even where reading from it works (a full disk)."""
        for carrier in self._carriers:
            carrier.held.strand([d for d in deliveries if d.channel == carrier.channel])
        self.wake()

    def stored(self, deliveries: Sequence[Delivery]) -> None:
        """The store has them."""
        for carrier in self._carriers:
            carrier.held.stored([d for d in deliveries if d.channel == carrier.channel])

    def forget(self, deliveries: Sequence[Delivery]) -> None:
        """They will never be stored: the stream is another process's."""
        for carrier in self._carriers:
            carrier.held.forget([d for d in deliveries if d.channel == carrier.channel])

    def receipt(self, delivery: Delivery) -> Receipt | None:
        """What its channel said, if it was sent without the store."""
        found = (c.held.receipt(delivery.key) for c in self._carriers if c.channel == delivery.channel)
        return next(found, None)

    async def run(self) -> None:
        """Deliver until cancelled; then ends within `grace_s` and one second more, whatever a channel does."""
        async with asyncio.TaskGroup() as group:
            for carrier in self._carriers:
                group.create_task(self._forever(carrier.run), name=f"outbox/{carrier.channel}")
            group.create_task(self._forever(self._measure), name="outbox/measure")

    async def drain(self, thread: str, timeout_s: float) -> list[Delivery]:
        """Wait until the thread has nothing to deliver, `timeout_s` at most; what did not arrive.

        The answer holds what is still pending and what this process gave up. Raises `StoreUnavailableError` when the
        store did not answer once. `run()` has to be running.
        """
        end = self._clock.monotonic() + timeout_s
        left: Sequence[Delivery] | None = None
        self.wake()
        while True:
            self._room.settled.clear()
            try:
                left = await self._store.undelivered(thread=thread)
            except TemporaryError:
                if left is None and self._clock.monotonic() >= end:
                    raise
            remaining_s = end - self._clock.monotonic()
            if remaining_s <= 0 or (left is not None and not left):
                break
            await wait_for_event(self._room.settled, self._clock, min(remaining_s, 0.2))
        return [*(delivery for delivery in self._room.dead if delivery.thread == thread), *(left or ())]

    async def _forever(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A fault in one carrier ends neither itself nor the others."""
        while True:
            try:
                await work()
            except Exception:  # noqa: BLE001 - supervision: logged, and started again
                _log.exception("outbox_worker_crashed", work=work.__qualname__)
            await self._clock.sleep(self._room.settings.backoff_first_s)

    async def _measure(self) -> None:
        while True:
            try:
                waiting = await self._store.undelivered()
            except TemporaryError:
                pass  # the workers say so, and the store has a metric of its own
            else:
                now = self._clock.now()
                for carrier in self._carriers:
                    ages = [now - delivery.created_at for delivery in waiting if delivery.channel == carrier.channel]
                    self._room.hooks.oldest_pending(carrier.channel, max(ages, default=0.0))
            await self._clock.sleep(self._room.settings.measure_every_s)
