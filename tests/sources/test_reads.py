"""What `check` says of the reads is what the sources really ask: counted at the emulator's Cloud Monitoring."""

from pathlib import Path

import pytest

from tests.sources.test_monitored import BACKLOG, DB, SQL, SQL_METRICS, SQL_ROWS, T0, policy, world
from watchdog.core.model import ServiceKey
from watchdog.core.policy import Policy
from watchdog.core.policy_text import describe, describe_json
from watchdog.core.reads import budget
from watchdog.policy_file import load_policy, parse_policy
from watchdog.ports import MetricQuery, Source
from watchdog.sources.cloud_monitoring import CloudRunMetrics
from watchdog.sources.monitored import MonitoredGauges

ROOT = Path(__file__).parents[2]
BARQ = load_policy(ROOT / "config/barq-fleet.yaml").policy
SQL_POLICY = policy(SQL_METRICS, *SQL_ROWS)
ERRORS_ONLY = policy("  error_rate: {source: cloud_run}", ("error_rate", "< 1%"))
SHARED = policy(
    "  active_connections: {source: cloud_sql, instance: shop-db}\n"
    "  db_connections: {source: cloud_sql, instance: shop-db, limit: 100}\n"
    f"  backlog: {{source: cloud_monitoring, filter: 'metric.type = \"{BACKLOG}\"', unit: count}}",
    *(("active_connections", "< 300"), ("db_connections", "< 80%"), ("backlog", "< 60")),
)


async def calls(given: Policy, *, asks: int) -> tuple[int, int]:
    """How often all sources together called `ListTimeSeries`, the first time and the last."""
    service = given.service
    key = ServiceKey(project=service.project, region=service.regions[0], name=service.name)
    async with world() as w:
        w.server.script(SQL + "memory/quota", 2.0**33, project=service.project, resource=DB)
        sources: list[Source] = [CloudRunMetrics(w.client)]
        sources += [MonitoredGauges(name, w.client) for name in ("cloud_sql", "memorystore", "cloud_monitoring")]
        counted = []
        for i in range(asks):
            before = w.server.calls["ListTimeSeries"]
            now = w.now + 60.0 * i
            for source in sources:
                query = MetricQuery(service=key, revision="shop-2", start=T0, end=now, policy=given)
                await source.sample(query, now=now)
            counted.append(w.server.calls["ListTimeSeries"] - before)
    return counted[0], counted[-1]


@pytest.mark.parametrize("given", [SQL_POLICY, ERRORS_ONLY, SHARED], ids=["cloud_sql", "errors", "shared"])
async def test_each_series_is_asked_for_once_and_check_says_so(given: Policy) -> None:
    first, later = await calls(given, asks=2)
    found = budget(given)
    assert later == len(found.reads) == found.calls_a_minute
    assert first - later <= 1, "a database's memory is read once an hour"


async def test_barqs_whole_catalogue_is_in_the_budget() -> None:
    assert (await calls(BARQ, asks=1))[0] <= len(budget(BARQ).reads) + 1
    lines = describe(BARQ)
    assert "18 series a minute at most in 15 calls, 26 while two revisions share the traffic" in lines
    assert "25,920 in a watch of 24h: $0.013 at $0.50 a million, of which the first each month is free" in lines


def test_the_same_as_values_and_faster_asking_costs_more() -> None:
    values = describe_json(BARQ)["reads"]
    assert values["series_per_minute"] == 18.0
    assert values["series_per_watch"] == 25_920
    assert values["usd_per_watch"] == pytest.approx(0.01296)
    assert {"source": "cloud_run", "what": "requests by class of answer", "series": 4} in values["reads"]
    text = (ROOT / "config/barq-fleet.yaml").read_text().replace("metrics_every: 60s", "metrics_every: 30s")
    faster = parse_policy(text, ROOT / "config/barq-fleet.yaml").policy
    assert budget(faster).series_a_minute == 36.0


def test_a_policy_without_cloud_monitoring_reads_nothing() -> None:
    only = policy(
        '  queue: {source: prometheus, query: "sum(queue)", unit: count, url: "https://prom.example/"}',
        ("queue", "< 9"),
    )
    found = budget(only)
    assert [r.source for r in found.reads] == ["cloud_run"], "the request count shows that the feed is alive"
    assert "billed by the series" in describe(only)
