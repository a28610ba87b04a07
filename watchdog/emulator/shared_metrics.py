"""Metrics of what stands behind a service (Cloud SQL, Memorystore, Pub/Sub) and of its network, as Google lists them.

Nothing in the emulator makes them: a script says what they show (`PUT /emulator/monitoring/series`).
"""

from collections.abc import Mapping

from watchdog.emulator.descriptors import METRICS, PREFIX, Kind, Metric, ValueType
from watchdog.emulator.distribution import Buckets

DATABASE = ("cloudsql_database", ("project_id", "database_id", "region"))
QUERIES = ("cloudsql_instance_database", ("project_id", "resource_id", "location", "database"))
REDIS = ("redis_instance", ("project_id", "region", "instance_id", "node_id"))
SUBSCRIPTION = ("pubsub_subscription", ("project_id", "subscription_id"))
QUERY_BUCKETS = Buckets.exponential(finite=60, growth=1.4, scale=1.0)
"""Microseconds; the bounds of Query Insights were not published."""

_SQL, _REDIS = "cloudsql.googleapis.com/database/", "redis.googleapis.com/"
_KIND = {"kind": "One of internet, private, google."}
_ROLE = {"role": "One of primary, replica."}
_Resource = tuple[str, tuple[str, ...]]


def _metric(
    name: str,
    kind: Kind,
    value_type: ValueType,
    unit: str,
    resource: _Resource | None,
    labels: Mapping[str, str] | None = None,
) -> Metric:
    title = name.partition("/")[2].replace("/", " ").replace("_", " ")
    more = {} if resource is None else {"resource": resource[0], "resource_labels": resource[1]}
    return Metric(
        type=name,
        kind=kind,
        value_type=value_type,
        unit=unit,
        display_name=title.title(),
        description=f"{title.capitalize()}.",
        labels=labels or {},
        **more,  # type: ignore[arg-type]
    )


_G, _D, _C = Kind.GAUGE, Kind.DELTA, Kind.CUMULATIVE
_INT, _DOUBLE, _SPREAD = ValueType.INT64, ValueType.DOUBLE, ValueType.DISTRIBUTION

SCRIPTED: Mapping[str, Metric] = {
    metric.type: metric
    for metric in (
        _metric(_SQL + "cpu/utilization", _G, _DOUBLE, "10^2.%", DATABASE),
        _metric(_SQL + "disk/read_ops_count", _D, _INT, "1", DATABASE),
        _metric(_SQL + "disk/utilization", _G, _DOUBLE, "10^2.%", DATABASE),
        _metric(_SQL + "disk/write_ops_count", _D, _INT, "1", DATABASE),
        _metric(_SQL + "memory/quota", _G, _INT, "By", DATABASE),
        _metric(_SQL + "memory/utilization", _G, _DOUBLE, "10^2.%", DATABASE),
        _metric(
            _SQL + "postgresql/insights/aggregate/latencies",
            _C,
            _SPREAD,
            "us",
            QUERIES,
            {"user": "The user of the database.", "client_addr": "The address of the client."},
        ),
        _metric(_SQL + "postgresql/num_backends", _G, _INT, "1", DATABASE, {"database": "Name of the database."}),
        _metric(_SQL + "replication/replica_lag", _G, _DOUBLE, "s", DATABASE),
        _metric("pubsub.googleapis.com/subscription/num_undelivered_messages", _G, _INT, "1", SUBSCRIPTION),
        _metric(_REDIS + "clients/connected", _G, _INT, "1", REDIS, _ROLE),
        _metric(_REDIS + "stats/cache_hit_ratio", _G, _DOUBLE, "1", REDIS, _ROLE),
        _metric(_REDIS + "stats/evicted_keys", _D, _INT, "1", REDIS, _ROLE),
        _metric(_REDIS + "stats/memory/usage_ratio", _G, _DOUBLE, "1", REDIS, _ROLE),
        _metric(_REDIS + "stats/reject_connections_count", _D, _INT, "1", REDIS, _ROLE),
        _metric(PREFIX + "container/network/received_bytes_count", _D, _INT, "By", None, _KIND),
        _metric(PREFIX + "container/network/sent_bytes_count", _D, _INT, "By", None, _KIND),
        _metric(PREFIX + "container/startup_latencies", _D, _SPREAD, "ms", None),
    )
}

ALL: Mapping[str, Metric] = dict(sorted((dict(METRICS) | dict(SCRIPTED)).items()))
"""Every metric of the emulator by its type, in the order the descriptors are listed in."""
