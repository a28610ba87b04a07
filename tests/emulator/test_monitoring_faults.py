"""Scripted faults of the emulated Cloud Monitoring, as Google's own client meets them."""

import asyncio
import math
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from google.api_core import exceptions, gapic_v1

from tests.emulator.monitoring_world import (
    COUNT,
    LATENCIES,
    PROJECT,
    Aligner,
    T,
    World,
    emulated,
    ends,
    ints,
)
from watchdog.emulator.monitoring import add_control_routes


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """The real figures: a sample a minute, visible after three."""
    async with emulated() as world:
        yield world


class TestFaults:
    @pytest.mark.parametrize(
        "kind, error",
        [
            ("unavailable", exceptions.ServiceUnavailable),
            ("permission_denied", exceptions.Forbidden),
            ("resource_exhausted", exceptions.TooManyRequests),
            ("internal", exceptions.InternalServerError),
        ],
    )
    async def test_refuse_the_next_calls(self, world: World, kind: str, error: type[Exception]) -> None:
        world.serve(T + 1)
        world.clock.at = T + 1000
        world.server.set_fault(kind, calls=2)  # type: ignore[arg-type]

        for _ in range(2):
            with pytest.raises(error):
                await world.ask(start=T, end=T + 60)

        assert len(await world.ask(start=T, end=T + 60)) == 1
        assert world.server.faults() == []
        assert world.server.calls["ListTimeSeries"] == 3

    async def test_the_clients_own_retry_gets_through_an_outage(self, world: World) -> None:
        world.serve(T + 1)
        world.clock.at = T + 1000
        world.server.set_fault("unavailable", calls=1)

        pager = await world.client.list_time_series(
            world.request(start=T, end=T + 60), retry=gapic_v1.method.DEFAULT, timeout=5.0
        )

        assert len([series async for series in pager]) == 1

    async def test_last_for_a_time(self, world: World) -> None:
        world.server.set_fault("unavailable", for_s=30)

        with pytest.raises(exceptions.ServiceUnavailable):
            await world.ask(start=T, end=T + 60)
        world.clock.at = T + 30

        assert await world.ask(start=T, end=T + 60) == []

    async def test_a_hanging_call_runs_into_the_clients_deadline(self, world: World) -> None:
        world.server.set_fault("deadline", calls=1)

        with pytest.raises(exceptions.DeadlineExceeded):
            await world.client.list_time_series(world.request(start=T, end=T + 60), retry=None, timeout=0.2)

    async def test_stopping_cuts_calls_that_hang(self, world: World) -> None:
        world.server.set_fault("deadline")
        call = asyncio.create_task(world.ask(start=T, end=T + 60))
        async with asyncio.timeout(2.0):
            while not world.server.calls:  # noqa: ASYNC110 - the other side of a socket has no event to wait for
                await asyncio.sleep(0.01)

            await world.server.stop()

            with pytest.raises(exceptions.GoogleAPICallError):
                await call

    async def test_latency_delays_the_answer(self, world: World) -> None:
        world.server.set_fault("latency", latency_s=0.15, calls=1)
        loop = asyncio.get_running_loop()
        start = loop.time()

        await world.ask(start=T, end=T + 60)

        assert loop.time() - start >= 0.15

    async def test_empty_looks_like_no_traffic(self, world: World) -> None:
        world.serve(T + 1)
        world.clock.at = T + 1000
        world.server.set_fault("empty", calls=1)

        assert await world.ask(start=T, end=T + 60) == []
        assert len(await world.ask(start=T, end=T + 60)) == 1

    async def test_nan_reaches_the_reader(self, world: World) -> None:
        world.serve(T + 1)
        world.clock.at = T + 1000
        world.server.set_fault("nan")

        (rate,) = await world.ask(start=T, end=T + 60, aligner=Aligner.ALIGN_RATE)
        (latencies,) = await world.ask(LATENCIES, start=T, end=T + 60)

        assert math.isnan(rate.points[0].value.double_value)
        assert math.isnan(latencies.points[0].value.distribution_value.mean)

    async def test_may_concern_one_metric_or_method_only(self, world: World) -> None:
        world.server.set_fault("unavailable", metric=LATENCIES)
        world.server.set_fault("permission_denied", methods=("GetMetricDescriptor",))

        assert await world.ask(start=T, end=T + 60) == []
        with pytest.raises(exceptions.ServiceUnavailable):
            await world.ask(LATENCIES, start=T, end=T + 60)
        with pytest.raises(exceptions.Forbidden):
            await world.client.get_metric_descriptor(name=f"projects/{PROJECT}/metricDescriptors/{COUNT}")
        world.server.clear_faults()
        assert await world.ask(LATENCIES, start=T, end=T + 60) == []

    async def test_a_late_part_revises_a_point(self, world: World) -> None:
        world.server.set_fault("late", share=0.25, late_s=120)
        world.serve(*[T + 1] * 20)
        world.server.clear_faults()
        world.clock.at = T + 60 + 180

        (first,) = await world.ask(start=T, end=T + 60)
        world.clock.at += 120
        (revised,) = await world.ask(start=T, end=T + 60)
        (latencies,) = await world.ask(LATENCIES, start=T, end=T + 60)

        assert ints(first) == [15]
        assert ints(revised) == [20]
        assert latencies.points[0].value.distribution_value.count == 20

    async def test_a_late_point_appears_after_its_successor(self, world: World) -> None:
        world.server.set_fault("late", late_s=300)
        world.serve(T + 1)
        world.server.clear_faults()
        world.serve(T + 61)
        world.clock.at = T + 120 + 180

        (first,) = await world.ask(start=T, end=T + 120)
        world.clock.at = T + 60 + 180 + 300
        (complete,) = await world.ask(start=T, end=T + 120)

        assert ends(first) == [T + 120]
        assert ends(complete) == [T + 120, T + 60]

    async def test_that_make_no_sense_are_refused(self, world: World) -> None:
        with pytest.raises(ValueError, match="latency_s"):
            world.server.set_fault("latency")
        with pytest.raises(ValueError, match="for_s"):
            world.server.set_fault("late", calls=1)

    async def test_are_scripted_over_http(self, world: World) -> None:
        app = web.Application()
        add_control_routes(app, world.server)
        async with TestServer(app) as server, ClientSession(server.make_url("/")) as session:
            async with session.post(
                "/emulator/monitoring/faults", json={"kind": "unavailable", "calls": 1, "for_s": 60}
            ) as response:
                assert response.status == 201
            async with session.post("/emulator/monitoring/faults", json={"kind": "explode"}) as response:
                assert response.status == 422
                assert "kind: Input should be 'unavailable'" in (await response.json())["error"]["message"]
            async with session.get("/emulator/monitoring") as response:
                shown = await response.json()
            assert (
                shown["sample_period_s"],
                shown["ingest_delay_s"],
                shown["container_ingest_delay_s"],
            ) == (60.0, 180.0, 60.0)
            assert [fault["kind"] for fault in shown["faults"]] == ["unavailable"]
            with pytest.raises(exceptions.ServiceUnavailable):
                await world.ask(start=T, end=T + 60)
            await session.post("/emulator/monitoring/faults", json={"kind": "unavailable"})
            async with session.delete("/emulator/monitoring/faults") as response:
                assert response.status == 204
            assert await world.ask(start=T, end=T + 60) == []
            world.serve(T + 1)
            async with session.delete("/emulator/monitoring/samples") as response:
                assert response.status == 204
            world.clock.at = T + 1000
            assert await world.ask(start=T, end=T + 60) == []
