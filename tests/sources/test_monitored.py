"""Cloud SQL, Memorystore and any metric by filter, against the emulator's Cloud Monitoring over real gRPC."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from watchdog.core.model import Evidence, Missing, Sample, ServiceKey, Value
from watchdog.core.policy import Policy
from watchdog.emulator.ledger import Ledger
from watchdog.emulator.monitoring import MonitoringServer
from watchdog.policy_file import parse_policy
from watchdog.ports import MetricQuery
from watchdog.sources.cloud_monitoring import CloudRunMetrics
from watchdog.sources.monitored import MonitoredGauges
from watchdog.sources.monitored_readings import default_connections
from watchdog.sources.monitoring_client import MonitoringClient

SERVICE = ServiceKey(project="acme", region="europe-west1", name="shop")
T0 = 1_700_000_040.0
"""A whole minute."""
SQL = "cloudsql.googleapis.com/database/"
REDIS = "redis.googleapis.com/"
BACKLOG = "pubsub.googleapis.com/subscription/num_undelivered_messages"
DB = {"database_id": "acme:shop-db"}
PRIMARY = {"instance_id": "projects/acme/locations/europe-west1/instances/shop-cache", "node_id": "node-0"}
HEAD = "version: 1\nservice: {project: acme, region: europe-west1, name: shop}\n"


def policy(metrics: str, *rows: tuple[str, str]) -> Policy:
    """A policy that declares `metrics` (YAML) and has a row for each (metric, target)."""
    table = "".join(f'  - {{metric: {name}, target: "{target}", action: investigate}}\n' for name, target in rows)
    return parse_policy(f"{HEAD}metrics:\n{metrics}\nsuccess_criteria:\n{table}", Path("policy.yaml")).policy


@dataclass
class World:
    server: MonitoringServer
    client: MonitoringClient
    now: float = T0 + 360.0
    feeds: dict[str, tuple[float, float]] = field(default_factory=dict)

    async def ask(self, source: str, policy: Policy) -> dict[str, Evidence]:
        """Check → what the first whole minute after `T0` says."""
        samples = await self.samples(source, policy)
        return {s.check: s.evidence for s in samples if s.start == T0}

    async def samples(self, source: str, policy: Policy) -> list[Sample]:
        gauges = MonitoredGauges(source, self.client)
        self.feeds = {f.check: (f.period_s, f.lag_s) for f in await gauges.feeds(SERVICE, policy)}
        query = MetricQuery(service=SERVICE, revision="shop-2", start=T0, end=self.now, policy=policy)
        return list(await gauges.sample(query, now=self.now))


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    made: list[World] = []
    server = MonitoringServer(ledger=Ledger(), now=lambda: made[0].now if made else T0)
    port = await server.start("127.0.0.1", 0)
    made.append(World(server, MonitoringClient(emulator_host=f"127.0.0.1:{port}")))
    try:
        yield made[0]
    finally:
        await made[0].client.close()
        await server.stop()


SQL_METRICS = """
  database_cpu: {source: cloud_sql, instance: shop-db}
  database_memory: {source: cloud_sql, instance: shop-db}
  database_disk: {source: cloud_sql, instance: "acme:shop-db"}
  active_connections: {source: cloud_sql, instance: shop-db}
  db_connections: {source: cloud_sql, instance: shop-db}
  query_latency: {source: cloud_sql, instance: shop-db}
  replication_lag: {source: cloud_sql, instance: shop-db-replica}
  disk_operations: {source: cloud_sql, instance: shop-db}
"""
SQL_ROWS = (
    ("database_cpu", "< 70%"), ("database_memory", "< 90%"), ("database_disk", "< 80%"),
    ("active_connections", "< 300"), ("db_connections", "< 80%"), ("query_latency", "< 50ms"),
    ("replication_lag", "< 10s"), ("disk_operations", "< 500/s"),
)  # fmt: skip


async def test_every_cloud_sql_metric_of_the_checklist_is_read_in_base_units() -> None:
    async with world() as w:
        w.server.script(SQL + "cpu/utilization", 0.42, project="acme", resource=DB)
        w.server.script(SQL + "memory/utilization", 0.61, project="acme", resource=DB)
        w.server.script(SQL + "disk/utilization", 0.3, project="acme", resource=DB)
        w.server.script(SQL + "memory/quota", 8 * 2.0**30, project="acme", resource=DB)
        for database, count in (("shop", 120), ("postgres", 5)):
            w.server.script(
                SQL + "postgresql/num_backends", count, project="acme", resource=DB, labels={"database": database}
            )
        w.server.script(
            SQL + "replication/replica_lag", 3.5, project="acme", resource={"database_id": "acme:shop-db-replica"}
        )
        w.server.script(SQL + "disk/read_ops_count", 600, project="acme", resource=DB)
        w.server.script(SQL + "disk/write_ops_count", 300, project="acme", resource=DB)
        for user in ("app", "report"):
            w.server.script(
                SQL + "postgresql/insights/aggregate/latencies", 20_000, project="acme",
                resource={"resource_id": "acme:shop-db", "database": "shop"}, labels={"user": user},
            )  # fmt: skip
        w.server.script(SQL + "cpu/utilization", 0.99, project="acme", resource={"database_id": "acme:other"})
        found = await w.ask("cloud_sql", policy(SQL_METRICS, *SQL_ROWS))

    assert {c: e for c, e in found.items() if c != "query_latency"} == {
        "database_cpu": Value(0.42),
        "database_memory": Value(0.61),
        "database_disk": Value(0.3),
        "active_connections": Value(125),
        "db_connections": Value(125 / 400),
        "replication_lag": Value(3.5),
        "disk_operations": Value(15.0),
    }
    latency = found["query_latency"]
    assert isinstance(latency, Value)
    assert latency.x == pytest.approx(0.02, rel=0.3), "a histogram's bucket is what is left of 20 ms"
    assert set(w.feeds.values()) == {(60.0, 180.0)}, "period and lag come from the descriptors"


async def test_the_teams_own_connection_limit_counts_before_the_tiers_default() -> None:
    declared = "  db_connections: {source: cloud_sql, instance: shop-db, limit: 200}"
    async with world() as w:
        w.server.script(SQL + "postgresql/num_backends", 100, project="acme", resource=DB, labels={"database": "shop"})
        found = await w.ask("cloud_sql", policy(declared, ("db_connections", "< 80%")))
        unknown = await w.ask("cloud_sql", policy(declared.replace(", limit: 200", ""), ("db_connections", "< 80%")))

    assert found == {"db_connections": Value(0.5)}
    assert unknown == {"db_connections": Missing("limit_unknown")}, "no memory quota, no default"


@pytest.mark.parametrize(
    "gib, most",
    [(0.6, 25), (1.7, 50), (3.75, 100), (6, 200), (7.5, 400), (15, 500), (30, 600), (60, 800), (120, 1000)],
)
def test_the_default_connection_limit_follows_the_memory(gib: float, most: int) -> None:
    assert default_connections(gib * 2.0**30) == most


async def test_memorystore_is_the_primarys_but_for_memory() -> None:
    metrics = "\n".join(
        f"  {name}: {{source: memorystore, instance: shop-cache}}"
        for name in ("redis_memory", "redis_connections", "redis_hit_rate", "redis_evictions")
    )
    rows = (
        ("redis_memory", "< 70%"), ("redis_connections", "< 1.5x before"), ("redis_hit_rate", "> 80%"),
        ("redis_evictions", "< 1/s"),
    )  # fmt: skip
    async with world() as w:
        for role, node, scale in (("primary", "node-0", 1.0), ("replica", "node-1", 0.5)):
            at = PRIMARY | {"node_id": node}
            for kind, value in (
                ("stats/memory/usage_ratio", 0.5), ("clients/connected", 40), ("stats/cache_hit_ratio", 0.9),
                ("stats/evicted_keys", 120),
            ):  # fmt: skip
                w.server.script(REDIS + kind, value * scale, project="acme", resource=at, labels={"role": role})
        found = await w.ask("memorystore", policy(metrics, *rows))

    assert found == {
        "redis_memory": Value(0.5),
        "redis_connections": Value(40),
        "redis_hit_rate": Value(0.9),
        "redis_evictions": Value(2.0),
    }


BACKLOG_FILTER = f"""'metric.type = "{BACKLOG}" AND resource.type = "pubsub_subscription"'"""


@pytest.mark.parametrize(
    "how, evidence",
    [
        ("", Missing("ambiguous: 2 series for one row")),
        (", reduce: sum", Value(110)),
        (", reduce: max, align: max", Value(70)),
    ],
)
async def test_any_metric_by_filter_and_aggregation(how: str, evidence: Evidence) -> None:
    declared = f"  backlog: {{source: cloud_monitoring, filter: {BACKLOG_FILTER}, unit: count{how}}}"
    async with world() as w:
        for name, depth in (("orders", 40), ("mail", 70)):
            w.server.script(BACKLOG, depth, project="acme", resource={"subscription_id": name})
        found = await w.ask("cloud_monitoring", policy(declared, ("backlog", "< 100")))

    assert found == {"backlog": evidence}


async def test_a_metric_that_nobody_writes_or_that_ended_is_missing_and_never_zero() -> None:
    declared = f"  backlog: {{source: cloud_monitoring, filter: {BACKLOG_FILTER}, unit: count, reduce: sum}}"
    async with world() as w:
        never = await w.ask("cloud_monitoring", policy(declared, ("backlog", "< 100")))
        w.now = T0 + 61.0
        w.server.script(BACKLOG, 5, project="acme", resource={"subscription_id": "orders"}, past_s=120)
        w.now = T0 + 181.0
        w.server.script(BACKLOG, None, project="acme", resource={"subscription_id": "orders"})
        w.now = T0 + 600.0
        samples = await w.samples("cloud_monitoring", policy(declared, ("backlog", "< 100")))

    assert never == {"backlog": Missing("no_series")}
    assert [s.evidence for s in samples][:4] == [Value(5), Value(5), Value(5), Missing("no_series")]
    assert {s.revision for s in samples} == {""}, "a shared resource belongs to no revision"


async def test_only_metrics_that_a_row_reads_are_asked_for() -> None:
    async with world() as w:
        found = await w.ask("cloud_sql", policy(SQL_METRICS, ("database_cpu", "< 70%")))
        assert w.server.calls["ListTimeSeries"] == 1

    assert found == {"database_cpu": Missing("no_series")}


async def test_one_metric_that_is_refused_does_not_take_the_others_with_it() -> None:
    async with world() as w:
        w.server.script(SQL + "cpu/utilization", 0.42, project="acme", resource=DB)
        w.server.set_fault("internal", metric="disk/utilization")
        found = await w.ask("cloud_sql", policy(SQL_METRICS, ("database_cpu", "< 70%"), ("database_disk", "< 80%")))

    assert found == {"database_cpu": Value(0.42), "database_disk": Missing("source_error")}


async def test_instances_and_network_of_the_revision_are_read_where_a_row_wants_them() -> None:
    wanted = policy("  {}", ("network_sent", "< 100MB/s"), ("error_rate", "< 1%"))
    revision = {"location": "europe-west1", "service_name": "shop", "revision_name": "shop-2"}
    async with world() as w:
        w.server.script("run.googleapis.com/container/network/sent_bytes_count", 6e8, project="acme", resource=revision)
        source = CloudRunMetrics(w.client)
        query = MetricQuery(service=SERVICE, revision="shop-2", start=T0, end=w.now, policy=wanted)
        samples = await source.sample(query, now=w.now)
        feeds = {f.check for f in await source.feeds(SERVICE, wanted)}

    assert {s.evidence for s in samples if s.check == "network_sent" and s.start == T0} == {Value(1e7)}
    assert "network_sent" in feeds
    assert not {"instances", "network_received"} & ({s.check for s in samples} | feeds)
