"""What a watch reads from Cloud Monitoring, and what that costs: its reads are billed by the time series returned.

Since 2 October 2025 Google bills $0.50 for a million series, at least one a query, after the first million a month of a
billing account. Which call answers what is the sources' affair; `tests/sources/test_reads.py` holds this against them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from watchdog.core.catalogue import BUILT_IN, REQUEST_DROP, Family, family
from watchdog.core.conditions import format_duration
from watchdog.core.policy import Policy

USD_A_SERIES: Final = 0.50 / 1_000_000
FREE_A_MONTH: Final = 1_000_000
"""Series a month that a billing account reads for nothing."""
PERIOD_S: Final = 60.0
"""The sources ask for every sample, and Google takes one a minute."""
CLASSES: Final = 4
"""Series of the request count at most: answers 2xx, 3xx, 4xx and 5xx."""
_CALLS: Final = {"disk_operations": ("disk reads", "disk writes"), "db_connections": ("connections",)}
"""What a metric of a shared resource is read from, where that is not itself."""
_SHARED: Final = {"active_connections": "connections"}
"""Metrics that rest on the same series as another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One `ListTimeSeries` call, made again and again."""

    source: str
    what: str
    series: int = 1
    """That it answers, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one watch of one region reads."""

    reads: tuple[Read, ...]
    asks_a_minute: float
    watch_s: float

    @property
    def calls_a_minute(self) -> float:
        """Calls to Cloud Monitoring."""
        return len(self.reads) * self.asks_a_minute

    @property
    def series_a_minute(self) -> float:
        """Series read a minute, at most, while one revision has all traffic."""
        return sum(r.series for r in self.reads) * self.asks_a_minute

    @property
    def series_mixed(self) -> float:
        """The same while two revisions share the traffic: Cloud Run's own are read for both."""
        return self.series_a_minute + sum(r.series for r in self.reads if r.source == "cloud_run") * self.asks_a_minute

    @property
    def series_a_watch(self) -> float:
        """Series read in a whole watch, at most."""
        return self.series_a_minute * self.watch_s / 60.0

    @property
    def usd_a_watch(self) -> float:
        """What a whole watch costs at most, once the month's free series are used up."""
        return self.series_a_watch * USD_A_SERIES


def budget(policy: Policy) -> Budget:
    """What a watch under this policy reads from Cloud Monitoring. Prometheus and JSON endpoints are not in it."""
    return Budget(
        reads=tuple(_reads(policy)),
        asks_a_minute=60.0 / min(policy.service.metrics_every_s, PERIOD_S),
        watch_s=policy.watch_s,
    )


def _reads(policy: Policy) -> Iterator[Read]:
    read = {row.metric for row in policy.rows}
    configs = [m for m in policy.metrics.values() if not m.pending]
    own = {m.name for m in configs if m.source == "cloud_run"}
    if own:
        yield Read(source="cloud_run", what="requests by class of answer", series=CLASSES)
        if any(name in read and family(name) is Family.LATENCY for name in own):
            yield Read(source="cloud_run", what="latency of requests")
        for name in BUILT_IN:
            if name in own & read and family(name) is Family.GAUGE and name not in {"request_rate", REQUEST_DROP}:
                yield Read(source="cloud_run", what=name)
        if REQUEST_DROP in own & read:  # what came before is read once an hour or a day
            yield Read(source=REQUEST_DROP, what="requests of the whole service")
    seen: set[tuple[str, str, str]] = set()
    for m in configs:
        if m.name not in read or m.source not in {"cloud_sql", "memorystore", "cloud_monitoring"}:
            continue
        for call in _CALLS.get(m.name, (_SHARED.get(m.name, m.name),)):
            key = (m.source, m.instance or m.name, call)
            if key not in seen:
                seen.add(key)
                yield Read(source=m.source, what=f"{call} of {m.instance}" if m.instance else call)


def sentences(found: Budget) -> Sequence[str]:
    """What it comes to, for a person."""
    if not found.reads:
        return []
    cost = f"{found.usd_a_watch:.3f}" if found.usd_a_watch < 1.0 else f"{found.usd_a_watch:,.2f}"
    shared = found.series_mixed > found.series_a_minute
    mixed = f", {found.series_mixed:g} while two revisions share the traffic" if shared else ""
    whole = f"{found.series_a_watch:,.0f} in a watch of {format_duration(found.watch_s)}"
    return [
        f"{found.series_a_minute:g} series a minute at most in {found.calls_a_minute:g} calls{mixed}",
        f"{whole}: ${cost} at $0.50 a million, of which the first each month is free",
    ]


def values(found: Budget) -> dict[str, Any]:
    """The same as values, JSON-able."""
    return {
        "calls_per_minute": found.calls_a_minute,
        "series_per_minute": found.series_a_minute,
        "series_per_minute_mixed": found.series_mixed,
        "series_per_watch": round(found.series_a_watch),
        "usd_per_watch": round(found.usd_a_watch, 6),
        "reads": [{"source": r.source, "what": r.what, "series": r.series} for r in found.reads],
    }
