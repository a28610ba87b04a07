"""The `cloud_run` source against the emulator's Cloud Monitoring, over real gRPC and Google's own client."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from watchdog.core.model import Counts, Evidence, Missing, Sample, ServiceKey, Value
from watchdog.emulator.ledger import InstanceUsage, Ledger, Request
from watchdog.emulator.monitoring import MonitoringServer
from watchdog.errors import PermanentError, TemporaryError
from watchdog.policy_file import load_policy
from watchdog.ports import MetricQuery
from watchdog.sources.cloud_monitoring import CloudRunMetrics
from watchdog.sources.monitoring_client import MonitoringClient
from watchdog.sources.monitoring_messages import SeriesQuery

POLICY = Path(__file__).parents[2] / "config" / "barq-fleet.yaml"
SERVICE = ServiceKey(project="barq-fleet", region="us-central1", name="barq-fleet-api")
T0 = 1_700_000_040.0
"""A whole minute."""
ALL = {"error_rate", "request_rate", "p50_latency", "p95_latency", "p99_latency", "cpu_usage", "memory_usage"}


class World:
    """One emulated Cloud Monitoring whose clock stands at `now`, and the source that reads it."""

    def __init__(self, server: MonitoringServer, ledger: Ledger, source: CloudRunMetrics) -> None:
        self.server, self.ledger, self.source = server, ledger, source
        self.now = T0
        self._ids = 0

    def serve(self, at: float, *, n: int = 1, status: int = 200, latency_s: float = 0.1, **fields: Any) -> None:
        """`n` requests that end at `at`."""
        for _ in range(n):
            self._ids += 1
            request = Request(
                revision="api-2", service=SERVICE.name, project=SERVICE.project, region=SERVICE.region, ended_at=at,
                latency_s=latency_s, status=status, user_agent="load", method="GET", url="http://x/", size_bytes=2,
                remote_ip="10.0.0.1", insert_id=f"{self._ids}",
            )  # fmt: skip
            self.ledger.record(replace(request, **fields))

    async def ask(self, start: float = T0, end: float | None = None, **fields: Any) -> list[Sample]:
        query = MetricQuery(
            service=SERVICE, revision="api-2", start=start, end=self.now if end is None else end, **fields
        )
        return list(await self.source.sample(query, now=self.now))


def at(samples: list[Sample], check: str) -> dict[float, Evidence]:
    """Start of period, seconds after `T0` → evidence of `check`."""
    return {s.start - T0: s.evidence for s in samples if s.check == check}


@asynccontextmanager
async def world(
    *, period_s: float = 60.0, delay_s: float = 180.0, timeout_s: float = 10.0, upper: bool = False, **options: Any
) -> AsyncIterator[World]:
    ledger = Ledger()
    made: list[World] = []
    server = MonitoringServer(
        ledger=ledger, sample_period_s=period_s, ingest_delay_s=delay_s, now=lambda: made[0].now, **options
    )
    port = await server.start("127.0.0.1", 0)
    client = MonitoringClient(emulator_host=f"127.0.0.1:{port}", timeout_s=timeout_s)
    made.append(World(server, ledger, CloudRunMetrics(client, upper=upper)))
    try:
        yield made[0]
    finally:
        await made[0].source.close()
        await server.stop()


# --- what it says of itself ---------------------------------------------------------------------------------------


async def test_feeds_announce_period_and_lag_of_the_descriptors_and_every_limit_of_the_policy() -> None:
    policy = load_policy(POLICY).policy
    async with world() as w:
        feeds = {feed.check: feed for feed in await w.source.feeds(SERVICE, policy)}

    assert ALL | {"slower_than_500ms"} <= set(feeds)
    assert not any(check.endswith("_upper") for check in feeds)
    assert {(f.period_s, f.lag_s) for c, f in feeds.items() if c not in ("cpu_usage", "memory_usage")} == {
        (60.0, 180.0)
    }
    assert {(feeds[c].period_s, feeds[c].lag_s) for c in ("cpu_usage", "memory_usage")} == {(60.0, 60.0)}
    assert {f.source for f in feeds.values()} == {"cloud_run"}


async def test_the_demos_faster_sampling_is_announced_and_used() -> None:
    async with world(period_s=5.0, delay_s=5.0) as w:
        w.serve(T0 + 2, n=10)
        w.serve(T0 + 7, n=5, status=500)
        w.now = T0 + 16
        samples = await w.ask()

    assert at(samples, "error_rate") == {0.0: Counts(0, 10), 5.0: Counts(5, 5)}
    assert at(samples, "request_rate") == {0.0: Value(2.0), 5.0: Value(1.0)}


async def test_a_policy_that_feeds_a_metric_from_elsewhere_gets_no_feed_for_it_here() -> None:
    policy = load_policy(POLICY).policy
    metrics = dict(policy.metrics) | {
        name: policy.metrics[name].model_copy(update={"source": "prometheus"}) for name in ALL if name != "error_rate"
    }
    async with world() as w:
        feeds = await w.source.feeds(SERVICE, policy.model_copy(update={"metrics": metrics}))

    assert [feed.check for feed in feeds] == ["error_rate", "network_sent"]


async def test_descriptors_are_asked_once() -> None:
    async with world() as w:
        for _ in range(3):
            await w.ask()

        assert w.server.calls["ListMetricDescriptors"] == 1


# --- counts -------------------------------------------------------------------------------------------------------


async def test_errors_are_5xx_among_all_requests_of_the_revision() -> None:
    async with world() as w:
        w.serve(T0 + 10, n=90)
        w.serve(T0 + 20, n=6, status=404)
        w.serve(T0 + 30, n=3, status=500)
        w.serve(T0 + 31, n=1, status=503)
        w.serve(T0 + 10, n=50, status=500, revision="api-1")
        w.serve(T0 + 10, n=50, status=500, service="other")
        w.serve(T0 + 10, n=50, status=500, region="europe-west1")
        w.serve(T0 + 10, n=50, status=500, project="other")
        w.now = T0 + 240
        samples = await w.ask()

    assert at(samples, "error_rate") == {0.0: Counts(4, 100)}
    assert at(samples, "request_rate") == {0.0: Value(100 / 60)}
    assert {(s.source, s.revision, s.seen, s.end - s.start) for s in samples} == {
        ("cloud_run", "api-2", T0 + 240, 60.0)
    }


async def test_a_class_without_a_series_had_no_request_but_no_series_at_all_is_missing() -> None:
    async with world() as w:
        w.serve(T0 + 1, n=7)
        w.serve(T0 + 121, n=2, status=502)
        w.now = T0 + 180 + 180
        samples = await w.ask()

    assert at(samples, "error_rate") == {0.0: Counts(0, 7), 60.0: Missing("no_series"), 120.0: Counts(2, 2)}
    assert at(samples, "request_rate")[60.0] == Missing("no_series")
    assert at(samples, "p95_latency")[60.0] == Missing("no_series")


async def test_only_whole_periods_behind_the_lag_are_answered() -> None:
    async with world() as w:
        w.serve(T0 + 30, n=1)
        w.serve(T0 + 90, n=1)
        w.now = T0 + 300 - 0.5  # the second period, [60, 120), is complete at 300
        before = await w.ask()
        w.now = T0 + 300
        after = await w.ask()
        inside = await w.ask(start=T0 + 1)
        ended = await w.ask(end=T0 + 119)

    assert set(at(before, "error_rate")) == {0.0}
    assert set(at(after, "error_rate")) == {0.0, 60.0}
    assert set(at(inside, "error_rate")) == {60.0}
    assert set(at(ended, "error_rate")) == {0.0}
    assert set(at(before, "cpu_usage")) == {0.0, 60.0, 120.0}  # its own lag is 60 s


async def test_nothing_is_asked_before_a_period_is_complete() -> None:
    async with world() as w:
        w.now = T0 + 59
        samples = await w.ask()

        assert samples == []
        assert w.server.calls["ListTimeSeries"] == 0


async def test_asking_again_gives_the_same_identities_and_revised_counts() -> None:
    async with world() as w:
        w.server.set_fault("late", share=0.5, late_s=60.0)
        w.serve(T0 + 30, n=10)
        w.now = T0 + 240
        first = await w.ask()
        w.now = T0 + 300
        second = await w.ask(end=T0 + 60)

    identities = [[(s.source, s.check, s.revision, s.start, s.end) for s in found] for found in (first, second)]
    assert set(identities[1]) <= set(identities[0])
    assert at(first, "error_rate")[0.0] == Counts(0, 5)
    assert at(second, "error_rate")[0.0] == Counts(0, 10)


async def test_one_call_a_metric() -> None:
    async with world() as w:
        w.serve(T0 + 30, n=10)
        w.now = T0 + 600
        await w.ask(latency_limits_s=(0.5, 1.0))

        assert w.server.calls["ListTimeSeries"] == 4
        await w.ask(metrics=("error_rate", "queue_depth"))
        assert w.server.calls["ListTimeSeries"] == 5


# --- latencies ----------------------------------------------------------------------------------------------------


async def test_slow_requests_are_counted_exactly_when_an_edge_lies_on_the_limit() -> None:
    async with world(upper=True, latency_edges_ms=(100.0, 250.0, 500.0, 1000.0)) as w:
        w.serve(T0 + 1, n=94, latency_s=0.2)
        w.serve(T0 + 2, n=5, latency_s=0.6)
        w.serve(T0 + 3, n=1, latency_s=3.0, status=500)
        w.now = T0 + 240
        samples = await w.ask(latency_limits_s=(0.5, 0.7))

    assert at(samples, "slower_than_500ms") == {0.0: Counts(6, 100)}
    assert at(samples, "slower_than_500ms_upper") == {0.0: Counts(6, 100)}
    assert at(samples, "slower_than_700ms") == {0.0: Counts(1, 100)}
    assert at(samples, "slower_than_700ms_upper") == {0.0: Counts(6, 100)}


async def test_percentiles_are_seconds_interpolated_in_the_merged_distribution() -> None:
    async with world(latency_edges_ms=(100.0, 200.0, 400.0)) as w:
        w.serve(T0 + 1, n=80, latency_s=0.15)
        w.serve(T0 + 2, n=20, latency_s=0.3, status=500)
        w.now = T0 + 240
        samples = await w.ask()

    found = {check: at(samples, check)[0.0] for check in ("p50_latency", "p95_latency", "p99_latency")}
    assert {check: round(v.x, 6) for check, v in found.items() if isinstance(v, Value)} == {
        "p50_latency": round(0.1 + 0.1 * 50 / 80, 6),
        "p95_latency": round(0.2 + 0.2 * 15 / 20, 6),
        "p99_latency": round(0.2 + 0.2 * 19 / 20, 6),
    }


async def test_cloud_runs_own_buckets_leave_the_limit_open_and_the_check_takes_the_lower_count() -> None:
    async with world(upper=True) as w:
        w.serve(T0 + 1, n=90, latency_s=0.1)
        w.serve(T0 + 2, n=6, latency_s=0.52)  # the bucket reaches from 497.9 to 547.6 ms
        w.serve(T0 + 3, n=4, latency_s=0.6)
        w.now = T0 + 240
        samples = await w.ask(latency_limits_s=(0.5,))

    assert at(samples, "slower_than_500ms") == {0.0: Counts(4, 100)}
    assert at(samples, "slower_than_500ms_upper") == {0.0: Counts(10, 100)}


# --- instances ----------------------------------------------------------------------------------------------------


async def test_cpu_is_the_mean_and_memory_the_fullest_instances() -> None:
    async with world() as w:
        w.ledger.set_usage("api-2", InstanceUsage(cpu=0.73, memory=0.41, instances=3))
        w.serve(T0 + 1)
        w.now = T0 + 120
        samples = await w.ask(metrics=("cpu_usage", "memory_usage"))

    (cpu,), (memory,) = (list(at(samples, check).values()) for check in ("cpu_usage", "memory_usage"))
    assert isinstance(cpu, Value)
    assert isinstance(memory, Value)
    assert cpu.x == pytest.approx(0.73)
    assert memory.x == pytest.approx(0.41, abs=0.011)  # buckets are 0.01 wide
    assert {s.check for s in samples} == {"cpu_usage", "memory_usage"}


# --- what can go wrong --------------------------------------------------------------------------------------------


async def test_nan_is_missing_never_a_number() -> None:
    async with world() as w:
        w.serve(T0 + 30, n=10)
        w.server.set_fault("nan")
        w.now = T0 + 240
        samples = await w.ask(latency_limits_s=(0.5,))

    gauges = ("cpu_usage", "memory_usage", "p50_latency", "p95_latency", "p99_latency", "slower_than_500ms")
    assert {check: at(samples, check)[0.0] for check in gauges} == dict.fromkeys(gauges, Missing("nan"))
    assert at(samples, "error_rate")[0.0] == Counts(0, 10)  # counts are integers, which have no NaN


async def test_an_empty_answer_is_missing_in_every_period() -> None:
    async with world() as w:
        w.serve(T0 + 30, n=10)
        w.server.set_fault("empty")
        w.now = T0 + 300
        samples = await w.ask(latency_limits_s=(0.5,))

    assert {s.evidence for s in samples} == {Missing("no_series")}
    assert len(at(samples, "slower_than_500ms")) == 2


async def test_a_missing_role_is_permanent_and_named() -> None:
    async with world() as w:
        await w.ask()
        w.server.set_fault("permission_denied")
        w.now = T0 + 300
        with pytest.raises(PermanentError, match=r"roles/monitoring\.viewer") as refused:
            await w.ask()

    assert refused.value.status == 403


@pytest.mark.parametrize("kind", ["unavailable", "resource_exhausted", "internal", "deadline"])
async def test_what_may_pass_is_temporary_and_ends_in_time(kind: Any) -> None:
    async with world(timeout_s=0.5) as w:
        await w.ask()
        w.server.set_fault(kind)
        w.now = T0 + 300
        async with asyncio.timeout(5):
            with pytest.raises(TemporaryError, match="Cloud Monitoring did not answer"):
                await w.ask()
        w.server.clear_faults()

        assert await w.ask()


@pytest.mark.parametrize("kind", ["permission_denied", "unavailable", "empty"])
async def test_descriptors_that_cannot_be_read_are_temporary_and_asked_again(kind: Any) -> None:
    async with world() as w:
        w.server.set_fault(kind, methods=("ListMetricDescriptors",))
        w.now = T0 + 300
        with pytest.raises(TemporaryError):
            await w.ask()
        w.server.clear_faults()

        assert await w.ask()


async def test_nobody_listening_is_temporary() -> None:
    source = CloudRunMetrics(MonitoringClient(emulator_host="127.0.0.1:1", timeout_s=2.0))
    try:
        with pytest.raises(TemporaryError):
            await source.sample(MetricQuery(service=SERVICE, revision="api-2", start=T0, end=T0 + 600), now=T0 + 900)
    finally:
        await source.close()


async def test_one_metric_that_cannot_be_read_does_not_silence_the_others() -> None:
    async with world() as w:
        w.serve(T0 + 30, n=10)
        w.server.set_fault("internal", metric="container/memory")
        w.now = T0 + 240
        with capture_logs() as logs:
            samples = await w.ask()
            await w.ask()
            w.server.clear_faults()
            await w.ask()

    assert at(samples, "error_rate")[0.0] == Counts(0, 10)
    assert set(at(samples, "memory_usage").values()) == {Missing("source_error")}
    assert [entry["event"] for entry in logs] == ["metric_query_failed", "metric_query_recovered"]


async def test_names_cannot_break_out_of_the_filter() -> None:
    async with world() as w:
        w.serve(T0 + 30, n=10)
        w.now = T0 + 240
        query = MetricQuery(
            service=SERVICE, revision='x" OR resource.labels.revision_name = "api-2', start=T0, end=w.now
        )
        samples = await w.source.sample(query, now=w.now)

    assert {s.evidence for s in samples} == {Missing("no_series")}


async def test_a_closed_source_can_be_asked_again() -> None:
    async with world() as w:
        w.serve(T0 + 30, n=10)
        w.now = T0 + 240
        await w.ask()
        await w.source.close()

        assert at(await w.ask(), "error_rate")[0.0] == Counts(0, 10)


async def test_without_credentials_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    source = CloudRunMetrics(MonitoringClient())
    query = MetricQuery(service=SERVICE, revision="api-2", start=T0, end=T0 + 600)

    with pytest.raises(TemporaryError, match=r"needs Google credentials.*roles/monitoring\.viewer"):
        await source.sample(query, now=T0 + 900)
    await source.close()


async def test_credentials_lead_to_google_with_our_channel_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import google.auth  # noqa: PLC0415 - heavy, and only here
    from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415

    anonymous: Any = AnonymousCredentials
    asked: list[tuple[str, ...]] = []

    def default(scopes: tuple[str, ...]) -> tuple[Any, str]:
        asked.append(scopes)
        return anonymous(), "barq-fleet"

    monkeypatch.setattr(google.auth, "default", default)
    client = MonitoringClient()

    connected = await client._connected()

    assert connected.transport.host == "monitoring.googleapis.com:443"
    assert asked == [("https://www.googleapis.com/auth/monitoring.read",)]
    await client.close()


@pytest.mark.parametrize(
    "change, status, said",
    [
        ({"period_us": 1_000_000}, 400, "alignment period"),
        ({"metric": "run.googleapis.com/nonsense"}, 404, "Cannot find metric"),
        ({"group_by": ("metric.labels.nonsense",)}, 400, "groupByFields"),
    ],
)
async def test_a_question_that_cannot_be_answered_is_permanent(change: Any, status: int, said: str) -> None:
    minute = 60_000_000
    query = SeriesQuery(
        project="barq-fleet", metric="run.googleapis.com/request_count", labels={}, start_us=0, end_us=minute,
        period_us=minute,
    )  # fmt: skip
    async with world() as w:
        w.serve(T0 + 1)
        w.now = T0 + 600
        client = MonitoringClient(emulator_host=f"127.0.0.1:{w.server.port}")
        with pytest.raises(PermanentError, match=said) as refused:
            await client.lines(replace(query, start_us=round(T0 * 1e6), end_us=round(T0 * 1e6) + minute, **change))
        await client.close()

    assert refused.value.status == status


def test_importing_the_sources_loads_no_google_client() -> None:
    code = (
        "import sys, watchdog.sources.cloud_monitoring, watchdog.sources.http_probe\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('google', 'grpc', 'proto')))"
    )

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "[]"
