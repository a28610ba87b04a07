"""Which of Cloud SQL's and Memorystore's metrics feed the catalogue's names, and how they are asked for.

Types, kinds and units are those of Google's metric lists (research: Cloud SQL for PostgreSQL, Memorystore for Redis).
What they do not say by themselves:

| metric | trap |
|---|---|
| `db_connections` | there is no metric of the limit: it follows from the memory, as Google's table of defaults has it, unless the policy says it |
| `query_latency` | needs Query Insights; CUMULATIVE microseconds on another resource, whose `resource_id` is `PROJECT:INSTANCE` |
| `replication_lag` | is measured on the replica: name that one as the instance |
| Redis | `instance_id` is the whole resource name; replicas answer too, so all but memory is the primary's |
"""  # noqa: E501 -- a table reads best with one line a row

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from watchdog.core.policy import MetricConfig
from watchdog.sources.monitoring_messages import quoted

SQL_PREFIX: Final = "cloudsql.googleapis.com/database/"
REDIS_PREFIX: Final = "redis.googleapis.com/"
MEMORY_QUOTA: Final = SQL_PREFIX + "memory/quota"
PRIMARY: Final = 'metric.labels.role = "primary"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One metric type that a name is read from. Several are added up."""

    type: str
    aligner: str
    reducer: str
    resource: str
    more: str = ""
    """Added to the filter, beside the instance."""
    scale: float = 1.0
    quantile: float | None = None
    """Which quantile of a distribution is the reading."""


def _sql(kind: str, aligner: str, reducer: str) -> Wanted:
    return Wanted(type=SQL_PREFIX + kind, aligner=aligner, reducer=reducer, resource="cloudsql_database")


def _redis(kind: str, aligner: str, reducer: str, more: str = "") -> Wanted:
    return Wanted(type=REDIS_PREFIX + kind, aligner=aligner, reducer=reducer, resource="redis_instance", more=more)


_BACKENDS: Final = _sql("postgresql/num_backends", "ALIGN_MEAN", "REDUCE_SUM")

WANTED: Final[Mapping[str, tuple[Wanted, ...]]] = {
    "database_cpu": (_sql("cpu/utilization", "ALIGN_MEAN", "REDUCE_MAX"),),
    "database_memory": (_sql("memory/utilization", "ALIGN_MEAN", "REDUCE_MAX"),),
    "database_disk": (_sql("disk/utilization", "ALIGN_MEAN", "REDUCE_MAX"),),
    "active_connections": (_BACKENDS,),
    "db_connections": (_BACKENDS,),
    "replication_lag": (_sql("replication/replica_lag", "ALIGN_MAX", "REDUCE_MAX"),),
    "disk_operations": (
        _sql("disk/read_ops_count", "ALIGN_RATE", "REDUCE_SUM"),
        _sql("disk/write_ops_count", "ALIGN_RATE", "REDUCE_SUM"),
    ),
    "query_latency": (
        Wanted(
            type=SQL_PREFIX + "postgresql/insights/aggregate/latencies",
            aligner="ALIGN_DELTA",
            reducer="REDUCE_SUM",
            resource="cloudsql_instance_database",
            scale=1e-6,
            quantile=0.95,
        ),
    ),
    "redis_memory": (_redis("stats/memory/usage_ratio", "ALIGN_MEAN", "REDUCE_MAX"),),
    "redis_connections": (_redis("clients/connected", "ALIGN_MEAN", "REDUCE_SUM", PRIMARY),),
    "redis_hit_rate": (_redis("stats/cache_hit_ratio", "ALIGN_MEAN", "REDUCE_MEAN", PRIMARY),),
    "redis_evictions": (_redis("stats/evicted_keys", "ALIGN_RATE", "REDUCE_SUM", PRIMARY),),
    "redis_rejected_connections": (_redis("stats/reject_connections_count", "ALIGN_RATE", "REDUCE_SUM", PRIMARY),),
}
QUOTA: Final = _sql("memory/quota", "ALIGN_MEAN", "REDUCE_MAX")

_CONNECTIONS: Final = (
    (1.0, 25),
    (3.0, 50),
    (6.0, 100),
    (7.5, 200),
    (15.0, 400),
    (30.0, 500),
    (60.0, 600),
    (120.0, 800),
)
"""Below so many GiB of memory, Cloud SQL for PostgreSQL's default `max_connections` (Google's table of database flags;
its tiers of 0.6, 1.7 and 3.75 GiB have 25, 50 and 100)."""
MOST_CONNECTIONS: Final = 1000


def default_connections(memory_bytes: float) -> int:
    """Cloud SQL's default `max_connections` for an instance with so much memory."""
    gib = memory_bytes / 2.0**30
    return next((most for below, most in _CONNECTIONS if gib < below), MOST_CONNECTIONS)


def instance_filter(wanted: Wanted, config: MetricConfig, project: str) -> str:
    """Which series are the instance's."""
    name = config.instance or ""
    if wanted.resource == "redis_instance":
        whole = name if "/" in name else ""
        instance = quoted(whole) if whole else f"ends_with({quoted('/instances/' + name)})"
        return f"resource.labels.instance_id = {instance}"
    label = "resource_id" if wanted.resource == "cloudsql_instance_database" else "database_id"
    return f"resource.labels.{label} = {quoted(name if ':' in name else f'{project}:{name}')}"
