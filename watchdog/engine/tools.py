"""What the engine works with: every port, in one value, handed down from the composition root."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from watchdog.ports import Clock, Delivery, JobControl, Journeys, Prober, Receipt, Rights, Source, Store, TrafficControl
from watchdog.telemetry import Metrics

Follower = Callable[[str, float, Mapping[str, Any]], None]
"""Told of everything announced: event, Unix seconds, fields. Must not block."""


def ignore(_event: str, _at: float, _fields: Mapping[str, Any]) -> None:
    """A follower that nobody needs."""


class Mail:
    """What a journalist tells of its messages to whoever carries them; this one carries nothing."""

    def offer(self, deliveries: Sequence[Delivery]) -> None:
        """They are on their way into the store, and may be sent if it does not answer."""

    def strand(self, deliveries: Sequence[Delivery]) -> None:
        """The store did not take them, and may not for long: send them without it."""

    def stored(self, deliveries: Sequence[Delivery]) -> None:
        """The store has them."""

    def forget(self, deliveries: Sequence[Delivery]) -> None:
        """They will never be stored: the stream is another process's."""

    def receipt(self, delivery: Delivery) -> Receipt | None:  # noqa: ARG002 - the interface
        """What its channel said, if it was sent without the store."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The ports and the few settings that engine parts share."""

    clock: Clock
    store: Store
    traffic: TrafficControl
    prober: Prober
    metrics: Metrics
    owner: str
    """Names this process in leases."""
    new_id: Callable[[], str]
    sources: Sequence[Source] = ()
    jobs: JobControl | None = None
    """None where no job can be run."""
    journeys: Journeys | None = None
    """None where none can be run."""
    rights: Rights | None = None
    """None where nobody can say what we may do: then nothing is doubted."""
    turns: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while one service is asked what can wait, so that hundreds do not ask at once."""
    channels: Sequence[str] = ()
    """Channels that messages go to."""
    lease_ttl_s: float = 15.0
    wake_outbox: Callable[[], None] = lambda: None
    mail: Mail = field(default_factory=Mail)
    follow: Follower = ignore
    page_url: str = ""
    """Where the watches' pages are, without a trailing slash; empty without a server."""
    store_patience_s: float = 2.0
    """The longest that a store which does not answer may delay a rollback (DESIGN section 7)."""
    lateness: "Lateness" = field(default_factory=lambda: Lateness())  # noqa: PLW0108 - defined below


class Lateness:
    """How late our own loop was lately: a probe that failed while we were late says nothing about the service."""

    SICK_S = 0.5

    def __init__(self) -> None:
        self._late_at = float("-inf")

    def observe(self, late_s: float, now: float) -> None:
        """Note how late something ran at `now` (monotonic seconds)."""
        if late_s >= self.SICK_S:
            self._late_at = now

    def since(self, monotonic: float) -> bool:
        """Whether the loop was late at or after that moment."""
        return self._late_at >= monotonic
