"""Aligners and reducers of the emulated Cloud Monitoring, asked by Google's own client."""

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.api.metric_pb2 import MetricDescriptor
from google.api_core import exceptions

from tests.emulator.monitoring_world import (
    CONCURRENCIES,
    COUNT,
    CPU,
    INSTANCES,
    LATENCIES,
    MEMORY,
    PROJECT,
    Aligner,
    Reducer,
    T,
    World,
    emulated,
    ends,
    ints,
    seconds,
)
from watchdog.emulator.ledger import InstanceUsage


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


class TestAlignment:
    async def test_is_anchored_at_the_end_of_the_interval(self, world: World) -> None:
        world.serve(T + 1, T + 61, T + 121, T + 181)
        world.clock.at = T + 1000

        (series,) = await world.ask(start=T + 60, end=T + 240, aligner=Aligner.ALIGN_DELTA, period_s=120)

        assert ends(series) == [T + 240, T + 120]
        assert ints(series) == [2, 2], "the oldest period reaches back before the interval"
        assert seconds(series.points[1].interval.start_time) == T

    async def test_delta_interpolates_where_an_edge_cuts_a_point(self, world: World) -> None:
        world.serve(*(T + second for second in range(1, 61)))
        world.clock.at = T + 1000

        (series,) = await world.ask(start=T - 45, end=T + 75, aligner=Aligner.ALIGN_DELTA)

        assert ends(series) == [T + 75, T + 15]
        assert ints(series) == [45, 15], "15 of 60 seconds lie before the edge"

    async def test_distributions_keep_every_value_when_cut(self, world: World) -> None:
        world.serve(*(T + second for second in range(1, 61)), latency_ms=120)
        world.clock.at = T + 1000

        (series,) = await world.ask(LATENCIES, start=T - 45, end=T + 75, aligner=Aligner.ALIGN_DELTA)

        assert [point.value.distribution_value.count for point in series.points] == [45, 15]

    async def test_rate_is_per_second_and_a_gauge(self, world: World) -> None:
        world.serve(*[T + 1] * 30)
        world.clock.at = T + 1000

        (series,) = await world.ask(start=T, end=T + 60, aligner=Aligner.ALIGN_RATE)

        assert series.points[0].value.double_value == pytest.approx(0.5)
        assert series.metric_kind == MetricDescriptor.GAUGE
        assert series.value_type == MetricDescriptor.DOUBLE
        assert series.points[0].interval.start_time == series.points[0].interval.end_time

    @pytest.mark.parametrize(
        "aligner, expected",
        [(Aligner.ALIGN_MEAN, 2.0), (Aligner.ALIGN_STDDEV, pytest.approx(math.sqrt(2 / 3)))],
    )
    async def test_statistics_over_the_points_of_a_period(self, world: World, aligner: Any, expected: float) -> None:
        world.serve(T + 1, T + 61, T + 61, T + 121, T + 121, T + 121)
        world.clock.at = T + 1000

        (series,) = await world.ask(start=T, end=T + 180, aligner=aligner, period_s=180)

        assert [expected] == [point.value.double_value for point in series.points]

    @pytest.mark.parametrize(
        "aligner, expected",
        [(Aligner.ALIGN_SUM, 6), (Aligner.ALIGN_MAX, 3), (Aligner.ALIGN_MIN, 1), (Aligner.ALIGN_COUNT, 3)],
    )
    async def test_whole_numbers_stay_whole(self, world: World, aligner: Any, expected: int) -> None:
        world.serve(T + 1, T + 61, T + 61, T + 121, T + 121, T + 121)
        world.clock.at = T + 1000

        (series,) = await world.ask(start=T, end=T + 180, aligner=aligner, period_s=180)

        assert [expected] == ints(series)
        assert series.value_type == MetricDescriptor.INT64

    @pytest.mark.parametrize(
        "metric, aligner, sentence",
        [
            (LATENCIES, Aligner.ALIGN_MEAN, "metrics with kind DELTA and value type DISTRIBUTION."),
            (LATENCIES, Aligner.ALIGN_RATE, "metrics with kind DELTA and value type DISTRIBUTION."),
            (LATENCIES, Aligner.ALIGN_MAX, "metrics with kind DELTA and value type DISTRIBUTION."),
            (COUNT, Aligner.ALIGN_PERCENTILE_99, "metrics with kind DELTA and value type INT64."),
            (COUNT, Aligner.ALIGN_COUNT_TRUE, "metrics with kind DELTA and value type INT64."),
            (
                INSTANCES,
                Aligner.ALIGN_DELTA,
                "metrics with kind GAUGE and value type INT64.",
            ),
        ],
    )
    async def test_an_aligner_that_does_not_fit_is_refused(
        self, world: World, metric: str, aligner: Any, sentence: str
    ) -> None:
        with pytest.raises(exceptions.InvalidArgument) as caught:
            await world.ask(metric, start=T, end=T + 60, aligner=aligner)

        assert caught.value.message == (
            f'Field aggregation.perSeriesAligner had an invalid value of "{aligner.name}": '
            f"The aligner cannot be applied to {sentence}"
        )

    async def test_the_period_is_at_least_a_minute(self, world: World) -> None:
        with pytest.raises(exceptions.InvalidArgument) as caught:
            await world.ask(start=T, end=T + 60, aligner=Aligner.ALIGN_DELTA, period_s=10)

        assert caught.value.message == (
            'Field aggregation.alignmentPeriod had an invalid value of "10s": '
            "The alignment period must be greater than or equal to 1 minute."
        )

    async def test_the_period_may_be_the_sampling_period_of_a_faster_emulator(self, fast: World) -> None:
        fast.serve(T + 1, T + 6, T + 7)
        fast.clock.at = T + 15

        (series,) = await fast.ask(start=T, end=T + 10, aligner=Aligner.ALIGN_DELTA, period_s=5)

        assert ints(series) == [2, 1]
        with pytest.raises(exceptions.InvalidArgument, match=r"equal to 5 seconds, .* \(the real API: 1 minute\)"):
            await fast.ask(start=T, end=T + 10, aligner=Aligner.ALIGN_DELTA, period_s=4)

    async def test_what_the_emulator_does_not_have_is_said_not_guessed(self, world: World) -> None:
        with pytest.raises(exceptions.MethodNotImplemented, match="ALIGN_INTERPOLATE"):
            await world.ask(
                INSTANCES,
                start=T,
                end=T + 60,
                aligner=Aligner.ALIGN_INTERPOLATE,
            )


class TestReduction:
    async def test_error_ratio_in_one_call(self, world: World) -> None:
        world.serve(*[T + 1] * 92)
        world.serve(*[T + 2] * 5, status=500)
        world.serve(*[T + 3] * 3, status=503)
        world.clock.at = T + 1000

        found = await world.ask(
            start=T,
            end=T + 60,
            where=' AND resource.labels.revision_name = "api-00002"',
            aligner=Aligner.ALIGN_DELTA,
            reducer=Reducer.REDUCE_SUM,
            group_by=("metric.labels.response_code_class",),
        )

        assert {one.metric.labels["response_code_class"]: ints(one) for one in found} == {"2xx": [92], "5xx": [8]}
        assert all(set(one.metric.labels) == {"response_code_class"} for one in found)
        assert all(dict(one.resource.labels) == {"project_id": PROJECT} for one in found)

    async def test_a_whole_distribution_is_read_once(self, world: World) -> None:
        world.serve(*[T + 1] * 90, latency_ms=100)
        world.serve(*[T + 1] * 10, latency_ms=900, status=500)
        world.clock.at = T + 1000

        (series,) = await world.ask(
            LATENCIES, start=T, end=T + 60, aligner=Aligner.ALIGN_DELTA, reducer=Reducer.REDUCE_SUM
        )
        distribution = series.points[0].value.distribution_value

        assert distribution.count == 100
        assert sum(distribution.bucket_counts) == 100
        assert distribution.mean == pytest.approx(180.0)
        assert distribution.sum_of_squared_deviation == pytest.approx(90 * 80**2 + 10 * 720**2)
        options = distribution.bucket_options.exponential_buckets
        assert (options.num_finite_buckets, options.growth_factor, options.scale) == (135, 1.1, 10.0)
        assert distribution.bucket_counts[-1] == 10, "trailing empty buckets are left out"

    @pytest.mark.parametrize("percent", [50, 95, 99])
    async def test_percentiles_lie_in_the_right_bucket(self, world: World, percent: int) -> None:
        for latency in range(1, 1001):
            world.serve(T + 1, latency_ms=latency, status=200 if latency % 2 else 500)
        world.clock.at = T + 1000

        reducer = getattr(Reducer, f"REDUCE_PERCENTILE_{percent}")
        (series,) = await world.ask(LATENCIES, start=T, end=T + 60, aligner=Aligner.ALIGN_DELTA, reducer=reducer)

        assert series.points[0].value.double_value == pytest.approx(percent * 10, rel=0.05)
        assert (series.metric_kind, series.value_type) == (MetricDescriptor.GAUGE, MetricDescriptor.DOUBLE)

    async def test_percentiles_of_percentiles_are_possible_as_in_the_real_api(self, world: World) -> None:
        world.serve(*[T + 1] * 1000, latency_ms=100)
        world.serve(T + 1, latency_ms=5000, status=500)
        world.clock.at = T + 1000

        (wrong,) = await world.ask(
            LATENCIES, start=T, end=T + 60, aligner=Aligner.ALIGN_PERCENTILE_50, reducer=Reducer.REDUCE_MEAN
        )
        (right,) = await world.ask(
            LATENCIES, start=T, end=T + 60, aligner=Aligner.ALIGN_DELTA, reducer=Reducer.REDUCE_PERCENTILE_50
        )

        assert wrong.points[0].value.double_value > 2000
        assert right.points[0].value.double_value < 120

    async def test_groups_by_revision(self, world: World) -> None:
        world.serve(T + 1, T + 1, revision="api-00001")
        world.serve(T + 1, revision="api-00002")
        world.serve(T + 1, revision="api-00002", status=500)
        world.clock.at = T + 1000

        found = await world.ask(
            start=T,
            end=T + 60,
            aligner=Aligner.ALIGN_SUM,
            reducer=Reducer.REDUCE_MAX,
            group_by=("resource.label.revision_name",),
        )

        assert {one.resource.labels["revision_name"]: ints(one) for one in found} == {
            "api-00001": [2],
            "api-00002": [1],
        }

    async def test_mean_and_count_across_series(self, world: World) -> None:
        world.serve(T + 1, T + 1, T + 1)
        world.serve(T + 1, status=500)
        world.clock.at = T + 1000

        (mean,) = await world.ask(start=T, end=T + 60, aligner=Aligner.ALIGN_DELTA, reducer=Reducer.REDUCE_MEAN)
        (count,) = await world.ask(start=T, end=T + 60, aligner=Aligner.ALIGN_DELTA, reducer=Reducer.REDUCE_COUNT)

        assert [point.value.double_value for point in mean.points] == [2.0]
        assert ints(count) == [2]

    async def test_percentiles_across_plain_numbers(self, world: World) -> None:
        for revision in range(1, 6):
            world.serve(*[T + 1] * revision, revision=f"api-{revision:05}")
        world.clock.at = T + 1000

        (median,) = await world.ask(
            start=T, end=T + 60, aligner=Aligner.ALIGN_DELTA, reducer=Reducer.REDUCE_PERCENTILE_50
        )
        (high,) = await world.ask(
            start=T, end=T + 60, aligner=Aligner.ALIGN_DELTA, reducer=Reducer.REDUCE_PERCENTILE_95
        )

        assert [point.value.double_value for point in median.points] == [3.0]
        assert [point.value.double_value for point in high.points] == pytest.approx([4.8])

    async def test_mean_and_deviation_of_distributions_are_those_of_their_values(self, world: World) -> None:
        world.serve(*[T + 1] * 3, latency_ms=100)
        world.serve(T + 1, latency_ms=500, status=500)
        world.clock.at = T + 1000

        found = {
            reducer: (await world.ask(LATENCIES, start=T, end=T + 60, aligner=Aligner.ALIGN_DELTA, reducer=reducer))[0]
            for reducer in (Reducer.REDUCE_MEAN, Reducer.REDUCE_STDDEV)
        }

        assert found[Reducer.REDUCE_MEAN].points[0].value.double_value == pytest.approx(200.0)
        assert found[Reducer.REDUCE_STDDEV].points[0].value.double_value == pytest.approx(math.sqrt(30_000))

    async def test_needs_an_aligner(self, world: World) -> None:
        with pytest.raises(exceptions.InvalidArgument, match="must not be ALIGN_NONE"):
            await world.ask(start=T, end=T + 60, reducer=Reducer.REDUCE_SUM)

    async def test_a_reducer_that_does_not_fit_is_refused(self, world: World) -> None:
        with pytest.raises(exceptions.InvalidArgument, match=r"REDUCE_MAX.*value type DISTRIBUTION"):
            await world.ask(LATENCIES, start=T, end=T + 60, aligner=Aligner.ALIGN_DELTA, reducer=Reducer.REDUCE_MAX)

    async def test_an_unknown_group_field_is_refused(self, world: World) -> None:
        world.serve(T + 1)
        with pytest.raises(exceptions.InvalidArgument, match=r"metric\.labels\.status"):
            await world.ask(
                start=T,
                end=T + 60,
                aligner=Aligner.ALIGN_DELTA,
                reducer=Reducer.REDUCE_SUM,
                group_by=("metric.labels.status",),
            )


class TestUsage:
    async def test_cpu_and_memory_are_shares_of_each_instance(self, world: World) -> None:
        world.serve(T + 1)
        world.ledger.set_usage("api-00002", InstanceUsage(cpu=0.72, memory=0.4, instances=3))
        world.clock.at = T + 1000

        (cpu,) = await world.ask(
            CPU, start=T, end=T + 60, aligner=Aligner.ALIGN_DELTA, reducer=Reducer.REDUCE_PERCENTILE_99
        )
        (memory,) = await world.ask(MEMORY, start=T, end=T + 60)

        assert cpu.points[0].value.double_value == pytest.approx(0.73, abs=0.011)
        assert memory.points[0].value.distribution_value.count == 3 * 6
        assert memory.points[0].value.distribution_value.mean == pytest.approx(0.4)
        options = memory.points[0].value.distribution_value.bucket_options.linear_buckets
        assert (options.num_finite_buckets, options.width, options.offset) == (100, 0.01, 0.0)

    async def test_instances_are_counted_by_state(self, world: World) -> None:
        world.serve(T + 1)
        world.ledger.set_usage("api-00002", InstanceUsage(instances=2))
        world.clock.at = T + 1000

        found = await world.ask(INSTANCES, start=T, end=T + 120)

        assert {one.metric.labels["state"]: ints(one) for one in found} == {"active": [0, 2], "idle": [2, 0]}
        assert all(one.metric_kind == MetricDescriptor.GAUGE for one in found)

    async def test_peak_concurrency_is_counted_from_the_requests(self, world: World) -> None:
        world.serve(T + 10, latency_ms=5000)
        world.serve(T + 12, latency_ms=3000)
        world.serve(T + 13, latency_ms=1000)
        world.serve(T + 300)
        world.clock.at = T + 1000

        (series,) = await world.ask(CONCURRENCIES, start=T, end=T + 300)

        assert [point.value.distribution_value.mean for point in series.points] == [1.0, 2.0]
        assert dict(series.metric.labels) == {"state": "active"}

    async def test_a_revision_without_instances_has_no_usage(self, world: World) -> None:
        world.serve(T + 1)
        world.clock.at = T + 7200

        assert await world.ask(CPU, start=T + 1800, end=T + 3600) == []
