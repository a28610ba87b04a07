"""Carries one channel's messages: at most one of a thread is on its way at any time, each tried until it is settled."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from watchdog.engine.clock import wait_for_event
from watchdog.engine.held import Held
from watchdog.errors import PermanentError, TemporaryError
from watchdog.ports import Clock, Delivery, Jitter, Lease, Notifier, Receipt, Store

_log = structlog.get_logger(__name__)

_LAST_S: Final = 0.5
"""For each of the two last steps of a shutdown; the whole process has 5 s."""
_LONGEST_WISH_S: Final = 3600.0
"""A provider that asks for more patience than this is asked again all the same: somebody waits for the page."""
_DEAD_KEPT: Final = 1000
_OTHERS_S: Final = 10.0
"""How long the store must be away before a message is sent that another process could have carried."""
_TELL_S: Final = 2.0
"""After such an absence, how long others have to tell the store what they sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSettings:
    """How long and how often. The defaults suit paging; tests choose their own."""

    ttl_s: float = 24 * 3600.0
    """After this a message is news of yesterday: dead letter."""
    attempt_timeout_s: float = 10.0
    poll_s: float = 1.0
    """How soon a message is noticed that another process wrote, or one that was deferred."""
    backoff_first_s: float = 1.0
    backoff_most_s: float = 60.0
    concurrency: int = 4
    """Threads served at once on one channel, so that one message that hangs does not hold up another watch's page."""
    lease_ttl_s: float = 15.0
    grace_s: float = 1.5
    """On shutdown, how long a message on its way may take to arrive."""
    measure_every_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxHooks:
    """What others want to know. Callbacks must not block."""

    counted: Callable[[str, str, str], None] = lambda _channel, _kind, _result: None
    """(channel, kind, result), result being `delivered`, `retried` or `dead`."""
    oldest_pending: Callable[[str, float], None] = lambda _channel, _age_s: None
    """(channel, age in seconds of the oldest message that waits, 0 with none)."""
    buried: Callable[[Delivery, str], None] = lambda _delivery, _error: None
    """A message became a dead letter, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Postroom:
    """What the carriers of all channels share."""

    store: Store
    clock: Clock
    owner: str
    jitter: Jitter
    settings: OutboxSettings
    hooks: OutboxHooks
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever a message was settled."""
    dead: deque[Delivery] = field(default_factory=lambda: deque(maxlen=_DEAD_KEPT))
    """What this process gave up, newest last."""


class Carrier:
    """One channel's worker. `run()` is its task."""

    def __init__(self, room: Postroom, notifier: Notifier) -> None:
        self.channel = notifier.channel
        self._room = room
        self._store, self._clock, self._settings, self._hooks = room.store, room.clock, room.settings, room.hooks
        self._notifier = notifier
        self._wake = asyncio.Event()
        self._on_the_way: dict[str, asyncio.Task[None]] = {}
        self._again_at: dict[str, float] = {}
        self._lease: Lease | None = None
        self._ask_lease_at = float("-inf")
        self._standing_by = False
        self._trouble: str | None = None
        self._told_to_wait = False
        """Whether the provider itself asked for patience: then nothing is hastened."""
        self._store_trouble = False
        self._away_since = 0.0
        self._patient_until = 0.0
        self._dead: OrderedDict[str, str] = OrderedDict()
        """Refused for good while the store could not be told: by key, why."""
        self.held = Held()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    async def run(self) -> None:
        """Deliver what is due, until cancelled."""
        try:
            while True:
                self._wake.clear()
                # What arrives while the store answers is still pending in its answer: threads busy before are left
                # alone in this round.
                busy = frozenset(self._on_the_way)
                try:
                    ours = await self._is_ours()
                    pending = await self._store.pending(self.channel, now=self._clock.now()) if ours else ()
                except TemporaryError as fault:
                    self._store_failed(fault)
                    self._start_held(readable=False)
                else:
                    self._store_answered()
                    # First what others may have sent from memory is told to the store, then the rest is sent.
                    if self._clock.monotonic() >= self._patient_until:
                        await self._start_due(pending, busy)
                        self._start_held(readable=True)
                    for delivery, receipt in self.held.unrecorded():
                        if delivery.thread not in self._on_the_way:
                            await self._record_sent(delivery, receipt)
                    if not ours:
                        self.held.age(self._clock.now())
                await wait_for_event(self._wake, self._clock, self._pause_s())
        finally:
            await self._stop()

    def _pause_s(self) -> float:
        """Until the next retry that we know of, or the next poll."""
        now = self._clock.now()
        self._again_at = {thread: at for thread, at in self._again_at.items() if at > now}
        return min([self._settings.poll_s, *(at - now for at in self._again_at.values())])

    async def _is_ours(self) -> bool:
        """Hold the channel's lease, renewed every third of its life."""
        ttl_s, now = self._settings.lease_ttl_s, self._clock.now()
        if now >= self._ask_lease_at:
            stream = f"outbox/{self.channel}"
            self._lease = await self._store.acquire(stream, self._room.owner, ttl_s=ttl_s, now=now)
            self._ask_lease_at = now + ttl_s / 3
        if self._standing_by != (self._lease is None):
            self._standing_by = self._lease is None
            _log.info("outbox_standing_by" if self._standing_by else "outbox_took_over", channel=self.channel)
        return self._lease is not None

    async def _start_due(self, pending: Sequence[Delivery], busy: frozenset[str]) -> None:
        for delivery in pending:
            if len(self._on_the_way) >= self._settings.concurrency:
                return
            if delivery.thread in busy or delivery.thread in self._on_the_way:
                continue
            if (receipt := self.held.receipt(delivery.key)) is not None:  # sent while the store was away
                await self._record_sent(delivery, receipt)
            elif delivery.key in self._dead:
                await self._record_dead(delivery, self._dead[delivery.key])
            else:
                self._start(delivery)

    def _start_held(self, *, readable: bool) -> None:
        """Send what this process still has in memory: everything while the store cannot be read, else only what it did
        not take (a full disk, a database that is locked)."""
        now, away_s = self._clock.now(), self._clock.monotonic() - self._away_since
        for delivery in self.held.heads():
            if len(self._on_the_way) >= self._settings.concurrency:
                return
            # A process that carries the channel may have read it from the store before that was lost.
            others = self._lease is None and self.held.is_stored(delivery.key) and away_s < _OTHERS_S
            if readable and not self.held.is_stranded(delivery.key):
                continue
            waits = others or self._again_at.get(delivery.thread, now) > now
            if delivery.thread not in self._on_the_way and not waits:
                self._start(delivery)

    def _start(self, delivery: Delivery) -> None:
        name = f"outbox/{self.channel}/{delivery.key}"
        self._on_the_way[delivery.thread] = asyncio.create_task(self._carry(delivery), name=name)

    async def _carry(self, delivery: Delivery) -> None:
        try:
            await self._attempt(delivery)
        except Exception:  # noqa: BLE001 - a bug here may not end the channel's other threads
            # Still pending in the store, so the next round tries again; the pause keeps a bug from spinning.
            _log.exception("delivery_crashed", channel=self.channel, key=delivery.key)
            await self._clock.sleep(self._settings.backoff_most_s)
        finally:
            self._on_the_way.pop(delivery.thread, None)
            self._wake.set()
            self._room.settled.set()

    async def _attempt(self, delivery: Delivery) -> None:
        """One attempt and its record."""
        expires_at = delivery.created_at + self._settings.ttl_s
        if self._clock.now() >= expires_at and not _resolves(delivery):
            await self._bury(delivery, f"not delivered within {self._settings.ttl_s / 3600:g} h")
            return
        try:
            async with asyncio.timeout(self._settings.attempt_timeout_s):
                receipt = await self._notifier.deliver(delivery)
        except PermanentError as fault:
            await self._bury(delivery, str(fault))
        except TemporaryError as fault:
            await self._retry(delivery, str(fault), fault.delay_s, expires_at)
        except TimeoutError:
            error = f"{self.channel} did not answer within {self._settings.attempt_timeout_s:g} s"
            await self._retry(delivery, error, None, expires_at)
        except Exception as fault:  # noqa: BLE001 - a page must survive a bug in its notifier
            _log.exception("notifier_crashed", channel=self.channel, key=delivery.key)
            await self._retry(delivery, f"{type(fault).__name__}: {fault}", None, expires_at)
        else:
            await self._succeed(delivery, receipt)

    async def _succeed(self, delivery: Delivery, receipt: Receipt) -> None:
        recovered, self._trouble = self._trouble is not None, None
        if recovered:
            _log.info("channel_recovered", channel=self.channel)
        self.held.remember(delivery, receipt)
        self.held.send(delivery, receipt)  # until the store knows, this is what keeps it from being sent again
        self._hooks.counted(self.channel, delivery.kind, "delivered")
        await self._record_sent(delivery, receipt)
        if recovered and not self._told_to_wait:
            await self._hasten()

    async def _hasten(self) -> None:
        """One message went through after a trouble: the others need not wait out what they were given during it."""
        now = self._clock.now()
        self._again_at.clear()
        if self._lease is not None and await self._recorded(lambda: self._store.hasten(self.channel, now=now)):
            self._wake.set()

    async def _record_sent(self, delivery: Delivery, receipt: Receipt) -> None:
        if self.held.is_stranded(delivery.key):
            return  # the store has no row yet: it is written as delivered
        now = self._clock.now()
        if await self._recorded(lambda: self._store.delivered(delivery.key, self.channel, receipt, now=now)):
            self.held.settled(delivery.key)

    async def _retry(self, delivery: Delivery, error: str, wish_s: float | None, expires_at: float) -> None:
        """Wait longer each time, and at least as long as the provider wishes."""
        if self._trouble != error:
            self._trouble = error
            _log.warning("channel_failing", channel=self.channel, key=delivery.key, error=error)
        self._told_to_wait = wish_s is not None
        full_s = min(self._settings.backoff_most_s, self._settings.backoff_first_s * 2 ** min(delivery.attempts, 16))
        delay_s = max(full_s * (1 + self._room.jitter()) / 2, min(wish_s or 0.0, _LONGEST_WISH_S))
        now = self._clock.now()
        # A resolve is attempted once more after its time: the incident that it ends may be open since long before.
        last_chance = now if _resolves(delivery) else now + delay_s
        if last_chance >= expires_at:
            await self._bury(delivery, f"not delivered within {self._settings.ttl_s / 3600:g} h: {error}")
            return
        self._again_at[delivery.thread] = now + delay_s
        self.held.tried(delivery.key)
        self._hooks.counted(self.channel, delivery.kind, "retried")
        await self._recorded(lambda: self._store.deferred(delivery.key, self.channel, until=now + delay_s, error=error))

    async def _bury(self, delivery: Delivery, error: str) -> None:
        _log.error("notification_dead", channel=self.channel, key=delivery.key, thread=delivery.thread, error=error)
        self._room.dead.append(delivery)
        self._hooks.counted(self.channel, delivery.kind, "dead")
        self._hooks.buried(delivery, error)
        self._dead[delivery.key] = error
        while len(self._dead) > _DEAD_KEPT:
            self._dead.popitem(last=False)
        self.held.settled(delivery.key)
        await self._record_dead(delivery, error)

    async def _record_dead(self, delivery: Delivery, error: str) -> None:
        now = self._clock.now()
        if await self._recorded(lambda: self._store.dead(delivery.key, self.channel, error=error, now=now)):
            self._dead.pop(delivery.key, None)

    async def _recorded(self, write: Callable[[], Awaitable[None]]) -> bool:
        """Tell the store, once. What it does not take now is kept in memory and told when it answers again: waiting
        for it here would hold up the thread's next page."""
        try:
            await write()
        except TemporaryError as fault:
            self._store_failed(fault)
            return False
        self._store_answered()
        return True

    def _store_failed(self, fault: TemporaryError) -> None:
        if not self._store_trouble:
            self._store_trouble, self._away_since = True, self._clock.monotonic()
            _log.warning("outbox_without_store", channel=self.channel, error=str(fault), effect="sent from memory")

    def _store_answered(self) -> None:
        if self._store_trouble:
            self._store_trouble = False
            now = self._clock.monotonic()
            if now - self._away_since >= _OTHERS_S:
                self._patient_until = now + _TELL_S
            _log.info("outbox_store_back", channel=self.channel)

    async def _stop(self) -> None:
        """Let messages on their way arrive, then give the channel to whoever comes next."""
        tasks = list(self._on_the_way.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._settings.grace_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_LAST_S)
        lease, self._lease = self._lease, None
        if lease is not None:
            try:
                async with asyncio.timeout(_LAST_S):
                    await self._store.release(lease)
            except (TemporaryError, TimeoutError) as fault:
                _log.info("outbox_lease_left_to_expire", channel=self.channel, error=str(fault))


def _resolves(delivery: Delivery) -> bool:
    incident = delivery.body.get("incident")
    return isinstance(incident, dict) and incident.get("action") == "resolve"
