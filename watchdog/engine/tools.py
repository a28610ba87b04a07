"""What the engine works with: every port, in one value, handed down from the composition root."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from watchdog.ports import Clock, Prober, Source, Store, TrafficControl
from watchdog.telemetry import Metrics

Follower = Callable[[str, float, Mapping[str, Any]], None]
"""Told of everything announced: event, Unix seconds, fields. Must not block."""


def ignore(_event: str, _at: float, _fields: Mapping[str, Any]) -> None:
    """A follower that nobody needs."""


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
    channels: Sequence[str] = ()
    """Channels that messages go to."""
    lease_ttl_s: float = 15.0
    wake_outbox: Callable[[], None] = lambda: None
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
