"""The emulated Cloud Monitoring, asked by Google's own client over gRPC: descriptors, points, labels, settings."""

import math
from collections.abc import AsyncIterator

import pytest
from google.api.metric_pb2 import MetricDescriptor
from google.api_core import exceptions
from google.cloud import monitoring_v3

from tests.emulator.monitoring_world import (
    CONCURRENCIES,
    COUNT,
    CPU,
    LATENCIES,
    MEMORY,
    PROJECT,
    Aligner,
    T,
    World,
    emulated,
    ends,
    ints,
    seconds,
)
from watchdog.emulator.descriptors import METRICS
from watchdog.emulator.ledger import Ledger
from watchdog.emulator.monitoring import MonitoringServer
from watchdog.emulator.shared_metrics import ALL


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """The real figures: a sample a minute, visible after three."""
    async with emulated() as world:
        yield world


@pytest.fixture
async def fast() -> AsyncIterator[World]:
    """The demo's figures: a sample every 5 s, visible after 5."""
    async with emulated(sample_period_s=5.0, ingest_delay_s=5.0) as world:
        yield world


class TestDescriptors:
    async def test_announce_the_real_period_and_delays(self, world: World) -> None:
        found = {}
        async for descriptor in await world.client.list_metric_descriptors(name=f"projects/{PROJECT}"):
            meta = descriptor.metadata
            found[descriptor.type] = (meta.sample_period.seconds, meta.ingest_delay.seconds)

        slow = dict.fromkeys(ALL, (60, 180))
        assert slow | {CPU: (60, 60), MEMORY: (60, 60)} == found

    async def test_announce_what_was_configured(self, fast: World) -> None:
        descriptor = await fast.client.get_metric_descriptor(name=f"projects/{PROJECT}/metricDescriptors/{CPU}")

        assert (descriptor.metadata.sample_period.seconds, descriptor.metadata.ingest_delay.seconds) == (5, 5)

    async def test_carry_kind_type_unit_labels_and_resource(self, world: World) -> None:
        descriptor = await world.client.get_metric_descriptor(name=f"projects/{PROJECT}/metricDescriptors/{LATENCIES}")

        assert descriptor.name == f"projects/{PROJECT}/metricDescriptors/{LATENCIES}"
        assert descriptor.metric_kind == MetricDescriptor.DELTA
        assert descriptor.value_type == MetricDescriptor.DISTRIBUTION
        assert descriptor.unit == "ms"
        assert [label.key for label in descriptor.labels] == ["response_code", "response_code_class", "route"]
        assert list(descriptor.monitored_resource_types) == ["cloud_run_revision"]

    async def test_are_listed_by_filter_and_page(self, world: World) -> None:
        request = monitoring_v3.ListMetricDescriptorsRequest(
            name=f"projects/{PROJECT}",
            filter='metric.type = starts_with("run.googleapis.com/container/")',
            page_size=3,
        )
        pages = [
            [descriptor.type.removeprefix("run.googleapis.com/container/") for descriptor in page.metric_descriptors]
            async for page in (await world.client.list_metric_descriptors(request)).pages
        ]

        assert pages == [
            ["cpu/utilizations", "instance_count", "max_request_concurrencies"],
            ["memory/utilizations", "network/received_bytes_count", "network/sent_bytes_count"],
            ["startup_latencies"],
        ]

    async def test_with_active_only_appear_once_there_is_data(self, world: World) -> None:
        request = monitoring_v3.ListMetricDescriptorsRequest(name=f"projects/{PROJECT}", active_only=True)

        assert [one async for one in await world.client.list_metric_descriptors(request)] == []

        world.serve(T)

        assert len([one async for one in await world.client.list_metric_descriptors(request)]) == len(METRICS)

    async def test_of_an_unknown_metric_is_not_found(self, world: World) -> None:
        with pytest.raises(
            exceptions.NotFound, match=r"Could not find descriptor for metric 'run\.googleapis\.com/nope'"
        ):
            await world.client.get_metric_descriptor(
                name=f"projects/{PROJECT}/metricDescriptors/run.googleapis.com/nope"
            )


class TestPoints:
    async def test_cover_whole_periods_of_the_wall_clock_newest_first(self, world: World) -> None:
        world.serve(T + 1, T + 59, T + 61)
        world.clock.at = T + 1000

        (series,) = await world.ask(start=T, end=T + 600)

        assert ends(series) == [T + 120, T + 60]
        assert ints(series) == [1, 2]
        assert series.metric_kind == MetricDescriptor.DELTA
        assert series.value_type == MetricDescriptor.INT64

    async def test_belong_to_the_period_that_ends_with_them(self, world: World) -> None:
        """A request that ends on the boundary is in the period before: start exclusive, end inclusive."""
        world.serve(T, T + 60)
        world.clock.at = T + 1000

        (series,) = await world.ask(start=T, end=T + 60)

        assert ends(series) == [T + 60]
        assert ints(series) == [1]

    async def test_raw_ones_start_a_millisecond_after_their_predecessor(self, world: World) -> None:
        world.serve(T + 1)
        world.clock.at = T + 1000

        (series,) = await world.ask(start=T, end=T + 60)

        assert seconds(series.points[0].interval.start_time) == pytest.approx(T + 0.001, abs=1e-4)

    async def test_are_invisible_until_the_ingest_delay_has_passed(self, world: World) -> None:
        world.serve(T + 1, T + 61)
        world.clock.at = T + 60 + 179.9

        assert await world.ask(start=T, end=T + 120) == []

        world.clock.at = T + 60 + 180
        (series,) = await world.ask(start=T, end=T + 120)

        assert ends(series) == [T + 60]

    async def test_of_containers_are_visible_sooner(self, world: World) -> None:
        world.serve(T + 1)
        world.clock.at = T + 60 + 60

        (series,) = await world.ask(CPU, start=T, end=T + 60)

        assert ends(series) == [T + 60]
        assert await world.ask(start=T, end=T + 60) == []

    async def test_no_traffic_is_an_empty_list_never_zero(self, world: World) -> None:
        world.serve(T + 1)
        world.clock.at = T + 1000

        assert await world.ask(start=T + 60, end=T + 600) == []
        assert await world.ask(start=T, end=T + 60, where=' AND metric.labels.response_code_class = "5xx"') == []

    async def test_a_period_without_requests_has_no_point_when_aligned_either(self, world: World) -> None:
        world.serve(T + 1, T + 181)
        world.clock.at = T + 1000

        (series,) = await world.ask(start=T, end=T + 240, aligner=Aligner.ALIGN_DELTA)

        assert ends(series) == [T + 240, T + 60]

    async def test_requests_recorded_out_of_order_are_counted_where_they_belong(self, world: World) -> None:
        world.serve(T + 61, T + 1, T + 62)
        world.clock.at = T + 1000

        (series,) = await world.ask(start=T, end=T + 120)

        assert ints(series) == [2, 1]

    async def test_what_the_ledger_held_before_is_counted(self, world: World) -> None:
        world.serve(T + 1)

        async with emulated(world.ledger) as later:
            later.clock.at = T + 1000

            assert len(await later.ask(start=T, end=T + 60)) == 1

            later.server.clear()

            assert await later.ask(start=T, end=T + 60) == []

    async def test_memory_stays_bounded(self) -> None:
        async with emulated(sample_period_s=3600.0, ingest_delay_s=0.0) as world:
            for hour in range(200):
                world.serve(T + hour * 3600 + 1, T + hour * 3600 + 2)
            world.clock.at = T + 1e9

            (series,) = await world.ask(start=T, end=T + 200 * 3600)
            (peaks,) = await world.ask(CONCURRENCIES, start=T, end=T + 200 * 3600)

            assert 26 <= len(series.points) <= 36
            assert ends(series)[0] == T + 200 * 3600
            assert 26 <= len(peaks.points) <= 36


class TestLabels:
    async def test_name_code_class_and_the_whole_resource(self, world: World) -> None:
        world.serve(T + 1, status=503)
        world.clock.at = T + 1000

        (series,) = await world.ask(start=T, end=T + 60)

        assert dict(series.metric.labels) == {"response_code": "503", "response_code_class": "5xx"}
        assert series.metric.type == COUNT
        assert series.resource.type == "cloud_run_revision"
        assert dict(series.resource.labels) == {
            "project_id": PROJECT,
            "location": "us-central1",
            "service_name": "api",
            "revision_name": "api-00002",
            "configuration_name": "api",
        }

    async def test_select_series_by_filter(self, world: World) -> None:
        world.serve(T + 1, status=200)
        world.serve(T + 1, status=500)
        world.serve(T + 1, status=503)
        world.serve(T + 1, revision="api-00001")
        world.serve(T + 1, project="another")
        world.clock.at = T + 1000

        async def codes(where: str) -> list[str]:
            found = await world.ask(start=T, end=T + 60, where=where)
            return sorted(
                f"{one.resource.labels['revision_name'][-1]}:{one.metric.labels['response_code']}" for one in found
            )

        assert await codes("") == ["1:200", "2:200", "2:500", "2:503"]
        assert await codes(' AND resource.labels.revision_name = "api-00002"') == ["2:200", "2:500", "2:503"]
        assert await codes(' AND metric.labels.response_code = starts_with("5")') == ["2:500", "2:503"]
        assert await codes(' AND metric.label.response_code_class = "5xx"') == ["2:500", "2:503"]
        assert await codes(' AND metric.labels.response_code = one_of("500", "502")') == ["2:500"]
        assert await codes(' metric.labels.response_code != one_of("500", "503")') == ["1:200", "2:200"]
        assert await codes(" AND metric.labels.response_code >= 500") == ["2:500", "2:503"]
        assert await codes(' AND NOT metric.labels.response_code = "500"') == ["1:200", "2:200", "2:503"]
        assert await codes(
            ' AND (resource.labels.revision_name = "api-00001" OR metric.labels.response_code = "503")'
            ' AND resource.type = "cloud_run_revision"'
        ) == ["1:200", "2:503"]
        assert await codes(' AND resource.labels.location = "europe-west1"') == []


class TestSettings:
    async def test_latency_edges_can_be_given(self) -> None:
        async with emulated(latency_edges_ms=[100.0, 500.0]) as world:
            world.serve(T + 1, latency_ms=499.9)
            world.serve(T + 1, latency_ms=500)
            world.clock.at = T + 1000

            (series,) = await world.ask(LATENCIES, start=T, end=T + 60)
            distribution = series.points[0].value.distribution_value

            assert list(distribution.bucket_options.explicit_buckets.bounds) == [100.0, 500.0]
            assert list(distribution.bucket_counts) == [0, 1, 1]

    @pytest.mark.parametrize("edges", [[], [1.0, 1.0], [2.0, 1.0], [1.0, math.inf]])
    def test_edges_must_ascend(self, edges: list[float]) -> None:
        with pytest.raises(ValueError, match="strictly ascending"):
            MonitoringServer(ledger=Ledger(), latency_edges_ms=edges)

    def test_periods_must_be_positive(self) -> None:
        with pytest.raises(ValueError, match="sample_period_s"):
            MonitoringServer(ledger=Ledger(), sample_period_s=0)

    async def test_a_taken_port_is_an_error(self, world: World) -> None:
        port = world.server.port
        assert port
        with pytest.raises(RuntimeError):
            await MonitoringServer(ledger=Ledger()).start("127.0.0.1", port)

    async def test_it_starts_once_and_stops_more_than_once(self) -> None:
        server = MonitoringServer(ledger=Ledger())
        await server.start("127.0.0.1", 0)
        with pytest.raises(RuntimeError, match="already running"):
            await server.start("127.0.0.1", 0)
        await server.stop()
        await server.stop()
