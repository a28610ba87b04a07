"""What the emulated Cloud Monitoring refuses, and how it pages."""

from collections.abc import AsyncIterator

import pytest
from google.api_core import exceptions
from google.cloud import monitoring_v3

from tests.emulator.monitoring_world import (
    COUNT,
    LATENCIES,
    PROJECT,
    Aligner,
    T,
    World,
    emulated,
    ends,
    stamp,
)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """The real figures: a sample a minute, visible after three."""
    async with emulated() as world:
        yield world


class TestRequests:
    @pytest.mark.parametrize(
        "text, sentence",
        [
            ("", "must specify a single metric type"),
            ('resource.type = "cloud_run_revision"', "must specify a single metric type"),
            ('metric.type = starts_with("run.googleapis.com/")', "must specify a single metric type"),
            (f'metric.type = "{COUNT}" OR metric.type = "{LATENCIES}"', "must specify a single metric type"),
            (f'NOT metric.type = "{COUNT}"', "must specify a single metric type"),
            (f'metric.type = "{COUNT}" AND resource.labels.service = "api"', "valid combination of metric"),
            (f'metric.type = "{COUNT}" AND metric.labels.code = "200"', "valid combination of metric"),
            (f'metric.type = "{COUNT}" AND resource.type = "gae_app"', "valid combination of metric"),
            (f'metric.type = "{COUNT}" AND', "syntax error at line 1, column 52, token '<EOF>'"),
            (f'metric.type = "{COUNT}" AND (resource.type = "x"', "token '<EOF>'"),
            (f'metric.type = ""{COUNT}""', "syntax error at line 1, column 16"),
            ('metric.typo = "x"', "token 'metric.typo'"),
        ],
    )
    async def test_a_filter_without_exactly_one_known_meaning_is_refused(
        self, world: World, text: str, sentence: str
    ) -> None:
        request = world.request(start=T, end=T + 60)
        request.filter = text

        with pytest.raises(exceptions.InvalidArgument) as caught:
            await world.query(request)

        assert sentence in caught.value.message

    async def test_an_unknown_metric_is_not_found(self, world: World) -> None:
        with pytest.raises(exceptions.NotFound, match=r'Cannot find metric\(s\) that match type = "run\.test/x"'):
            await world.ask("run.test/x", start=T, end=T + 60)

    async def test_the_interval_must_be_whole_and_forward(self, world: World) -> None:
        with pytest.raises(exceptions.InvalidArgument, match="earlier than the end time"):
            await world.ask(start=T + 60, end=T + 60)
        request = world.request(start=T, end=T + 60)
        request.interval = monitoring_v3.TimeInterval(end_time=stamp(T))
        with pytest.raises(exceptions.InvalidArgument, match="start time must be specified"):
            await world.query(request)
        request.interval = monitoring_v3.TimeInterval(start_time=stamp(T))
        with pytest.raises(exceptions.InvalidArgument, match="end time must be specified"):
            await world.query(request)

    async def test_the_name_must_be_a_project(self, world: World) -> None:
        request = world.request(start=T, end=T + 60)
        request.name = PROJECT

        with pytest.raises(exceptions.InvalidArgument, match="projects/PROJECT_ID"):
            await world.query(request)

    async def test_unsupported_fields_are_refused_not_ignored(self, world: World) -> None:
        request = world.request(start=T, end=T + 60)
        request.order_by = "value"
        with pytest.raises(exceptions.InvalidArgument, match="must be left blank"):
            await world.query(request)
        request = world.request(start=T, end=T + 60)
        request.secondary_aggregation = monitoring_v3.Aggregation(per_series_aligner=Aligner.ALIGN_MEAN)
        with pytest.raises(exceptions.MethodNotImplemented, match="secondary aggregation"):
            await world.query(request)

    async def test_pages_hold_so_many_points_and_come_from_one_moment(self, world: World) -> None:
        """Points that become visible while the client turns pages belong to its next query."""
        world.serve(*(T + minute * 60 + 1 for minute in range(9)))
        world.serve(*(T + minute * 60 + 1 for minute in range(9)), status=500)
        world.clock.at = T + 300 + 180
        pager = await world.client.list_time_series(world.request(start=T, end=T + 600, page_size=3))
        sizes, points = [], []

        async for page in pager.pages:
            sizes.append(sum(len(series.points) for series in page.time_series))
            for series in page.time_series:
                points += [(series.metric.labels["response_code"], end) for end in ends(series)]
            world.clock.at += 60

        assert sizes == [3, 3, 3, 1]
        assert points == [(code, T + minute * 60) for code in ("200", "500") for minute in (5, 4, 3, 2, 1)]

    async def test_a_page_token_belongs_to_its_request(self, world: World) -> None:
        world.serve(T + 1, T + 61)
        world.clock.at = T + 1000
        request = world.request(start=T, end=T + 120, page_size=1)
        pager = await world.client.list_time_series(request)
        other = world.request(LATENCIES, start=T, end=T + 120)
        other.page_token = pager.next_page_token

        with pytest.raises(exceptions.InvalidArgument, match="page token"):
            await world.query(other)
        other.page_token = "nonsense"
        with pytest.raises(exceptions.InvalidArgument, match="pageToken"):
            await world.query(other)

    async def test_headers_have_no_points(self, world: World) -> None:
        world.serve(T + 1, T + 61)
        world.serve(T + 1, status=500)
        world.clock.at = T + 1000
        request = world.request(start=T, end=T + 120)
        request = monitoring_v3.ListTimeSeriesRequest(request, view="HEADERS")

        found = await world.query(request)

        assert [one.metric.labels["response_code"] for one in found] == ["200", "500"]
        assert all(not one.points for one in found)

    async def test_other_methods_are_unimplemented(self, world: World) -> None:
        with pytest.raises(exceptions.MethodNotImplemented):
            await world.client.create_time_series(name=f"projects/{PROJECT}", time_series=[])
