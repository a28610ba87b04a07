"""The metrics that Watchdog knows by name: what each one measures, in which unit, and which source can feed it.

A policy may only judge what somebody can measure, so every name in a table is looked up here or among the metrics that
the file declares. Values inside are in base units: ratio 0..1, seconds, bytes, per second, count.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Family(StrEnum):
    """How a metric's evidence is judged."""

    ERRORS = "errors"
    """Failed requests among all requests, by the evidence meter."""
    LATENCY = "latency"
    """Requests slower than the limit among all requests, by the evidence meter."""
    PROBES = "probes"
    """Failed probes among all probes, by the evidence meter and by confirmation."""
    JOURNEYS = "journeys"
    """Journeys, by confirmation alone."""
    CHECK = "check"
    """Checks that pass or fail, by so many failures in a row."""
    GAUGE = "gauge"
    """Readings, by "4 of the last 5 points"."""


class Dimension(StrEnum):
    """What kind of quantity it is, hence which units make sense."""

    RATIO = "share"
    TIME = "time"
    BYTES = "bytes"
    RATE = "rate"
    BANDWIDTH = "bandwidth"
    COUNT = "count"


UNITS: Final[dict[str, tuple[Dimension, float]]] = {
    "%": (Dimension.RATIO, 0.01),
    "ratio": (Dimension.RATIO, 1.0),
    "ms": (Dimension.TIME, 0.001),
    "s": (Dimension.TIME, 1.0),
    "m": (Dimension.TIME, 60.0),
    "bytes": (Dimension.BYTES, 1.0),
    "kB": (Dimension.BYTES, 1e3),
    "MB": (Dimension.BYTES, 1e6),
    "GB": (Dimension.BYTES, 1e9),
    "MiB": (Dimension.BYTES, 2.0**20),
    "GiB": (Dimension.BYTES, 2.0**30),
    "/s": (Dimension.RATE, 1.0),
    "/min": (Dimension.RATE, 1.0 / 60.0),
    "B/s": (Dimension.BANDWIDTH, 1.0),
    "kB/s": (Dimension.BANDWIDTH, 1e3),
    "MB/s": (Dimension.BANDWIDTH, 1e6),
    "count": (Dimension.COUNT, 1.0),
}
"""Unit → its dimension and its size in the dimension's base unit. Decimal prefixes are decimal, as SI has them."""

BASE_UNITS: Final[dict[Dimension, str]] = {
    Dimension.RATIO: "ratio",
    Dimension.TIME: "s",
    Dimension.BYTES: "bytes",
    Dimension.RATE: "/s",
    Dimension.BANDWIDTH: "B/s",
    Dimension.COUNT: "count",
}

PENDING: Final = "pending"
"""The source of a metric that nobody feeds yet, but that its team already writes into its tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceKind:
    """A source by name: what a declaration must tell it, and whether its adapter is here already."""

    name: str
    needs: tuple[str, ...] = ()
    """Keys that a metric declared with this source must have."""
    takes: tuple[str, ...] = ()
    """Keys that it may have beside those (and beside `unit`)."""
    any_metric: bool = False
    """Whether it answers whatever its query asks, hence can feed every metric."""
    sees_past: bool = True
    """Whether it can be asked for the hour before the deploy, hence can feed rows that compare with it."""


SOURCES: Final[dict[str, SourceKind]] = {
    s.name: s
    for s in (
        SourceKind(name="cloud_run"),
        SourceKind(name="cloud_sql", needs=("instance",), takes=("limit",)),
        SourceKind(name="memorystore", needs=("instance",)),
        SourceKind(name="cloud_monitoring", needs=("filter",), takes=("align", "reduce"), any_metric=True),
        SourceKind(name="prometheus", needs=("query",), takes=("url", "auth"), any_metric=True),
        SourceKind(
            name="json_endpoint",
            needs=("query",),
            takes=("url", "path", "auth", "audience"),
            any_metric=True,
            sees_past=False,
        ),
    )
}

ALIGNERS: Final = (
    *("mean", "max", "min", "sum", "count", "delta", "rate", "stddev"),
    *(f"percentile_{p}" for p in ("05", "50", "95", "99")),
)
"""How `cloud_monitoring` makes one point a period of a series: `ALIGN_…` of Cloud Monitoring's `Aggregation`."""
REDUCERS: Final = (
    *("none", "mean", "max", "min", "sum", "count", "stddev"),
    *(f"percentile_{p}" for p in ("05", "50", "95", "99")),
)
"""How it makes one series of many: `REDUCE_…`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownMetric:
    """One metric that is known by name."""

    name: str
    title: str
    family: Family
    dimension: Dimension
    sources: tuple[str, ...]
    """Sources that feed it by name; those that answer any query are not listed."""
    high_is_bad: bool | None = True
    """None when either direction can be the bad one."""


def _gauge(
    name: str, title: str, dimension: Dimension, *sources: str, high_is_bad: bool | None = True
) -> tuple[str, KnownMetric]:
    return name, KnownMetric(
        name=name, title=title, family=Family.GAUGE, dimension=dimension, sources=sources, high_is_bad=high_is_bad
    )


def _request(name: str, title: str, kind: Family, dimension: Dimension) -> tuple[str, KnownMetric]:
    return name, KnownMetric(name=name, title=title, family=kind, dimension=dimension, sources=("cloud_run",))


GRPC_ERRORS: Final = "grpc_error_rate"
"""Errors inside HTTP 200."""
REQUEST_DROP: Final = "request_drop"
"""Relative to before by itself."""

METRICS: Final[dict[str, KnownMetric]] = dict(
    (
        _request("error_rate", "failed requests (5xx) among all requests", Family.ERRORS, Dimension.RATIO),
        _request("client_error_rate", "refused requests (4xx) among all requests", Family.ERRORS, Dimension.RATIO),
        _request(GRPC_ERRORS, "gRPC calls that the server failed, among all calls", Family.ERRORS, Dimension.RATIO),
        _request("p50_latency", "median response time", Family.LATENCY, Dimension.TIME),
        _request("p95_latency", "95th percentile of response time", Family.LATENCY, Dimension.TIME),
        _request("p99_latency", "99th percentile of response time", Family.LATENCY, Dimension.TIME),
        _gauge("request_rate", "requests a second", Dimension.RATE, "cloud_run", high_is_bad=None),
        _gauge(REQUEST_DROP, "traffic that was to be expected and does not come", Dimension.RATIO, "cloud_run"),
        _gauge("cpu_usage", "CPU used of the instances' CPU", Dimension.RATIO, "cloud_run"),
        _gauge("memory_usage", "memory used of the instances' memory", Dimension.RATIO, "cloud_run"),
        _gauge("instances", "container instances", Dimension.COUNT, "cloud_run", high_is_bad=None),
        _gauge("network_sent", "bytes the instances send", Dimension.BANDWIDTH, "cloud_run", high_is_bad=None),
        _gauge("network_received", "bytes the instances receive", Dimension.BANDWIDTH, "cloud_run", high_is_bad=None),
        _gauge("database_cpu", "CPU used of the database's CPU", Dimension.RATIO, "cloud_sql"),
        _gauge("database_memory", "memory used of the database's memory", Dimension.RATIO, "cloud_sql"),
        _gauge("database_disk", "disk used of the database's disk", Dimension.RATIO, "cloud_sql"),
        _gauge("db_connections", "connections used of the database's limit", Dimension.RATIO, "cloud_sql"),
        _gauge("active_connections", "open connections to the database", Dimension.COUNT, "cloud_sql"),
        _gauge("replication_lag", "how far the replica is behind", Dimension.TIME, "cloud_sql"),
        _gauge("query_latency", "95th percentile of database queries", Dimension.TIME, "cloud_sql"),
        _gauge("disk_operations", "the database's disk accesses", Dimension.RATE, "cloud_sql", high_is_bad=None),
        _gauge("pool_utilization", "connections used of the application's pool", Dimension.RATIO),
        _gauge("redis_memory", "memory used of Redis's memory", Dimension.RATIO, "memorystore"),
        _gauge("redis_connections", "open connections to Redis", Dimension.COUNT, "memorystore"),
        _gauge(
            "redis_hit_rate", "cache hits among cache lookups", Dimension.RATIO, "memorystore", high_is_bad=False
        ),
        _gauge("redis_evictions", "keys evicted for lack of memory", Dimension.RATE, "memorystore"),
        _gauge("redis_rejected_connections", "connections Redis refused", Dimension.RATE, "memorystore"),
    )
)  # fmt: skip

ALIASES: Final = {"database_connections": "db_connections", "connection_pool": "pool_utilization"}
"""Other names that teams use for the same metric."""

INVESTIGATED: Final = frozenset({"client_error_rate", GRPC_ERRORS, REQUEST_DROP})
"""Metrics whose rows ask for a person where they name no action: what they see is seldom the release's fault alone."""

BUILT_IN: Final[tuple[str, ...]] = tuple(m.name for m in METRICS.values() if "cloud_run" in m.sources)
"""Metrics that Cloud Run itself feeds, hence that need no declaration."""

HEALTH_CHECK: Final = "health_check"
"""All probes of a policy together."""

PROBE_PREFIX: Final = "probe."
"""`probe.NAME` is one probe."""

JOURNEYS: Final = "journeys"
"""All critical journeys of a policy together."""

JOURNEY_PREFIX: Final = "journey."
"""`journey.NAME` is one journey, as a metric and as the check whose answers it is."""

CHECK_PREFIX: Final = "check."
"""`check.NAME` is a check of a section of its own (`logs`, `version_check`, `edge`, `jobs`), which makes its row."""

_QUANTILES: Final = {"p50_latency": 0.5, "p95_latency": 0.95, "p99_latency": 0.99}


def canonical_name(metric: str) -> str:
    """The catalogue's own name for a metric that has several."""
    return ALIASES.get(metric, metric)


def is_probe(metric: str) -> bool:
    """Whether it stands for one probe or for all."""
    return metric == HEALTH_CHECK or metric.startswith(PROBE_PREFIX)


def is_journey(metric: str) -> bool:
    """Whether it stands for one journey or for all."""
    return metric == JOURNEYS or metric.startswith(JOURNEY_PREFIX)


def check_words(check: str) -> str:
    """A probe or a journey as sentences name it: `probe health`, `journey courier`."""
    if check.startswith(JOURNEY_PREFIX):
        return f"journey {check.removeprefix(JOURNEY_PREFIX)}"
    return f"probe {check}"


def known_metric(metric: str) -> KnownMetric | None:
    """The catalogue's entry, also for probes and journeys; None for names that only a declaration can explain."""
    if is_journey(metric):
        return KnownMetric(
            name=metric,
            title="whether people can do what they need the service for",
            family=Family.JOURNEYS,
            dimension=Dimension.RATIO,
            sources=("journeys",),
            high_is_bad=False,
        )
    if metric.startswith(CHECK_PREFIX):
        return KnownMetric(
            name=metric,
            title="a check that passes or fails",
            family=Family.CHECK,
            dimension=Dimension.RATIO,
            sources=("checks",),
            high_is_bad=False,
        )
    if is_probe(metric):
        return KnownMetric(
            name=metric,
            title="passed probes among all probes",
            family=Family.PROBES,
            dimension=Dimension.RATIO,
            sources=("probes",),
            high_is_bad=False,
        )
    return METRICS.get(canonical_name(metric))


def family(metric: str) -> Family:
    """How the metric is judged. A name that is not in the catalogue was declared with a query: a gauge."""
    known = known_metric(metric)
    return known.family if known else Family.GAUGE


def quantile(metric: str) -> float:
    """The quantile of a latency metric (`p95_latency` → 0.95). Raises `ValueError` for any other metric."""
    try:
        return _QUANTILES[metric]
    except KeyError:
        raise ValueError(f"{metric} is not a latency quantile") from None
