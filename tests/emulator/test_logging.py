"""The emulated Cloud Logging, tailed by Google's own client over gRPC: entries, filters, limits, faults."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from google.api_core import exceptions
from google.cloud.logging_v2 import types
from google.logging.type.log_severity_pb2 import LogSeverity

from tests.emulator.cloud_world import running_cloud, until
from tests.emulator.logging_world import PROJECT, REQUESTS, World, ask, connected, emulated
from tests.emulator.monitoring_world import seconds
from watchdog.emulator import clock
from watchdog.emulator.logging_control import add_logging_routes
from watchdog.emulator.logging_filter import sampled

SuppressionInfo = types.TailLogEntriesResponse.SuppressionInfo


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Delivers as soon as a request has ended."""
    async with emulated() as world:
        yield world


class TestEntries:
    async def test_have_the_shape_of_cloud_runs_request_log(self, world: World) -> None:
        tailing = await world.tail()
        ended_at = clock.now()
        world.serve(ended_at=ended_at, latency_s=1.25, status=503, user_agent="curl/8", size_bytes=77)

        (entry,) = (await tailing.read()).entries

        assert entry.log_name == f"projects/{PROJECT}/logs/run.googleapis.com%2Frequests"
        assert (entry.resource.type, dict(entry.resource.labels)) == (
            "cloud_run_revision",
            {
                "project_id": PROJECT,
                "location": "us-central1",
                "service_name": "api",
                "revision_name": "api-00002",
                "configuration_name": "api",
            },
        )
        http = entry.http_request
        assert (http.request_method, http.request_url, http.status) == ("GET", "http://api.test/couriers", 503)
        assert (http.user_agent, http.response_size, http.latency.ToMicroseconds()) == ("curl/8", 77, 1_250_000)
        assert LogSeverity.Name(entry.severity) == "ERROR"
        assert entry.insert_id == "request-1"
        assert entry.labels["instanceId"]

    async def test_are_stamped_with_the_requests_arrival(self, world: World) -> None:
        """A real entry's timestamp lies its latency before the moment at which it was logged."""
        tailing = await world.tail()
        ended_at = clock.now()
        world.serve(ended_at=ended_at, latency_s=1.0)

        (entry,) = (await tailing.read()).entries

        assert seconds(entry.timestamp) == pytest.approx(ended_at - 1.0, abs=1e-5)
        assert seconds(entry.receive_timestamp) == pytest.approx(ended_at, abs=0.1)

    @pytest.mark.parametrize("status, severity", [(200, "INFO"), (302, "INFO"), (404, "WARNING"), (500, "ERROR")])
    async def test_are_as_severe_as_their_status(self, world: World, status: int, severity: str) -> None:
        tailing = await world.tail()
        world.serve(status=status)

        assert LogSeverity.Name((await tailing.read()).entries[0].severity) == severity

    async def test_come_in_the_order_of_their_timestamps_within_a_response(self, world: World) -> None:
        tailing = await world.tail()
        now = clock.now()
        for latency_s in (0.1, 0.9, 0.5):
            world.serve(ended_at=now, latency_s=latency_s)

        found = (await tailing.read()).entries

        assert [entry.http_request.latency.ToMicroseconds() for entry in found] == [900_000, 500_000, 100_000]

    async def test_from_before_a_session_are_not_delivered_to_it(self, world: World) -> None:
        world.serve()
        tailing = await world.tail()
        (after,) = world.serve()

        assert await tailing.ids(1) == [after]

    async def test_of_another_project_are_nobodys_here(self, world: World) -> None:
        tailing = await world.tail()
        world.serve(project="other")
        (mine,) = world.serve()

        assert await tailing.ids(1) == [mine]

    async def test_come_to_every_session(self, world: World) -> None:
        first, second = await world.tail(), await world.tail()
        ids = world.serve(3)

        assert await first.ids(3) == await second.ids(3) == ids

    async def test_come_after_the_delay_and_the_buffer_window(self) -> None:
        async with emulated(delivery_delay_s=0.3) as world:
            tailing = await world.tail(buffer_s=0.2)
            ended_at = clock.now()
            world.serve(ended_at=ended_at)
            await tailing.ids(1)

        assert 0.5 <= clock.now() - ended_at < 2.0

    async def test_wait_two_seconds_where_no_window_is_asked_for(self, world: World) -> None:
        tailing = await world.tail(buffer_s=None)
        ended_at = clock.now()
        world.serve(ended_at=ended_at)
        await tailing.ids(1)

        assert clock.now() - ended_at >= 2.0


class TestFilters:
    @pytest.mark.parametrize(
        "text, wanted",
        [
            ("", "abcd"),
            (REQUESTS, "abcd"),
            ('log_id("run.googleapis.com/stderr")', ""),
            ('resource.labels.service_name="API"', "abc"),
            ('resource.labels.service_name=("api" OR "web")', "abcd"),
            ('resource.labels.service_name!="api"', "d"),
            ("httpRequest.status>=500", "b"),
            ("httpRequest.status>=400 AND httpRequest.status<500", "c"),
            ("severity>=WARNING", "bc"),
            ('httpRequest.userAgent:"dog/"', "c"),
            ('NOT httpRequest.userAgent=~"^deploy-"', "abd"),
            ('-httpRequest.status=200 resource.labels.service_name="api"', "bc"),
            ('httpRequest.status=503 OR httpRequest.status=404 AND resource.labels.location="us-central1"', "bc"),
            ('(httpRequest.status=503 OR severity="WARNING")', "bc"),
            (f'logName="projects/{PROJECT}/logs/run.googleapis.com%2Frequests"', "abcd"),
        ],
    )
    async def test_select(self, world: World, text: str, wanted: str) -> None:
        tailing = await world.tail(text)
        everything = await world.tail("")
        world.serve(insert_id="a")
        world.serve(insert_id="b", status=503)
        world.serve(insert_id="c", status=404, user_agent="deploy-watchdog/0.1.0 (probe)")
        world.serve(insert_id="d", service="web")
        assert await everything.ids(4) == list("abcd")
        end = clock.now() + 1000.0
        world.serve(insert_id="end", ended_at=end)  # due last, so never delivered

        found: list[str] = await tailing.ids(len(wanted)) if wanted else []

        assert "".join(found) == wanted

    async def test_sample_takes_its_share_by_the_hash_of_a_field(self, world: World) -> None:
        tailing = await world.tail(f"{REQUESTS} AND sample(insertId, 0.25)")
        ids = world.serve(400)
        wanted = [i for i in ids if sampled(i, 0.25)]

        assert await tailing.ids(len(wanted)) == wanted
        assert 60 < len(wanted) < 140
        assert {i for i in ids if sampled(i, 0.125)} < set(wanted)

    @pytest.mark.parametrize(
        "text",
        [
            "resource.type=",
            'resource.typ="cloud_run_revision"',
            'log_id("run.googleapis.com/requests"',
            "sample(insertId, 2)",
            "severity>=",
            'httpRequest.status>"abc"',
            'httpRequest.userAgent=~"("',
            '"a bare word"',
            "x" * 20_001,
        ],
    )
    async def test_that_are_wrong_are_refused(self, world: World, text: str) -> None:
        with pytest.raises(exceptions.InvalidArgument):
            await (await world.ask(text)).read()

        assert world.server.sessions == 0


class TestSessions:
    async def test_are_ten_a_project_at_most(self, world: World) -> None:
        held = [await world.tail() for _ in range(10)]

        with pytest.raises(exceptions.ResourceExhausted, match="live tailing sessions"):
            await (await world.ask()).read()
        await world.tail(resources=["projects/other"])

        assert len(held) == 10

    async def test_end_after_their_time_with_the_words_of_the_real_one(self) -> None:
        async with emulated(longest_session_s=0.2) as world:
            tailing = await world.tail()

            with pytest.raises(exceptions.OutOfRange, match="maximum allowed duration of 1h"):
                await tailing.read()

    async def test_that_are_closed_free_their_place(self, world: World) -> None:
        tailing = await world.ask()
        reading = asyncio.ensure_future(tailing.read())
        await until(lambda: world.server.sessions == 1)

        reading.cancel()

        await until(lambda: world.server.sessions == 0)
        assert world.server.filters == []

    @pytest.mark.parametrize("resources", [[], ["organizations/1"], ["barq-fleet"]])
    async def test_need_a_project(self, world: World, resources: list[str]) -> None:
        with pytest.raises(exceptions.InvalidArgument):
            await (await world.ask(resources=resources)).read()

    async def test_refuse_a_buffer_window_beyond_a_minute(self, world: World) -> None:
        with pytest.raises(exceptions.InvalidArgument, match="buffer_window"):
            await (await world.ask(buffer_s=61.0)).read()

    async def test_leave_out_what_is_over_the_rate_and_count_it(self) -> None:
        async with emulated(entries_per_minute=5) as world:
            tailing = await world.tail()
            ids = world.serve(8)
            responses = [await tailing.read()]
            while sum(len(r.entries) + sum(i.suppressed_count for i in r.suppression_info) for r in responses) < 8:
                responses.append(await tailing.read())

        assert [entry.insert_id for response in responses for entry in response.entries] == ids[:5]
        left_out = [info for response in responses for info in response.suppression_info]
        assert {info.reason for info in left_out} == {SuppressionInfo.Reason.RATE_LIMIT}


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
    async def test_refuse_the_next_sessions(self, world: World, kind: str, error: type[Exception]) -> None:
        world.server.set_fault(kind, sessions=1)  # type: ignore[arg-type]

        with pytest.raises(error):
            await (await world.ask()).read()
        tailing = await world.tail()
        ids = world.serve()

        assert await tailing.ids(1) == ids
        assert world.server.faults() == []
        assert world.server.calls["TailLogEntries"] == 2

    async def test_break_a_session_at_once(self, world: World) -> None:
        tailing = await world.tail()
        world.server.set_fault("reset", sessions=1)

        with pytest.raises(exceptions.ServiceUnavailable, match="Socket closed"):
            await tailing.read()

    async def test_break_a_session_after_so_many_entries(self, world: World) -> None:
        tailing = await world.tail()
        world.server.set_fault("reset", sessions=1, entries=3)
        ids = world.serve(5)

        assert await tailing.ids(3) == ids[:3]
        with pytest.raises(exceptions.ServiceUnavailable):
            await tailing.read()
        again = await world.tail()
        later = world.serve(5)
        assert await again.ids(5) == later

    async def test_end_a_session_as_its_hour_does(self, world: World) -> None:
        tailing = await world.tail()
        world.server.set_fault("expire", sessions=1)

        with pytest.raises(exceptions.OutOfRange):
            await tailing.read()

    async def test_suppress_entries_and_say_so(self, world: World) -> None:
        tailing = await world.tail()
        world.server.set_fault("suppress", entries=2, reason="NOT_CONSUMED")
        world.serve(2)

        response = await tailing.read()

        assert [(info.reason, info.suppressed_count) for info in response.suppression_info] == [
            (SuppressionInfo.Reason.NOT_CONSUMED, 2)
        ]
        assert list(response.entries) == []
        later = world.serve()
        assert await tailing.ids(1) == later

    async def test_deliver_entries_twice(self, world: World) -> None:
        tailing = await world.tail()
        world.server.set_fault("duplicate", share=0.5)
        ids = world.serve(4)

        assert sorted(await tailing.ids(6)) == sorted([*ids, ids[1], ids[3]])

    async def test_hold_entries_back(self, world: World) -> None:
        tailing = await world.tail()
        world.server.set_fault("late", late_s=0.4)
        ended_at = clock.now()
        (late,) = world.serve(ended_at=ended_at)
        world.server.clear_faults()
        (prompt,) = world.serve()

        assert await tailing.ids(2) == [prompt, late]
        assert clock.now() - ended_at >= 0.4

    async def test_fall_silent_without_a_word(self, world: World) -> None:
        tailing = await world.tail()
        world.server.set_fault("silent")
        world.serve(3)
        await until(lambda: not any(session.waiting for session in world.server._sessions))
        world.server.clear_faults()
        ids = world.serve()

        assert await tailing.ids(1) == ids

    async def test_exclude_what_a_filter_selects(self, world: World) -> None:
        tailing = await world.tail()
        world.server.set_fault("exclude", filter="httpRequest.status<400")
        world.serve(3)
        ids = world.serve(2, status=500)

        assert await tailing.ids(2) == ids

    async def test_end_by_themselves(self, world: World) -> None:
        world.server.set_fault("permission_denied", for_s=0.05)

        await until(lambda: not world.server.faults())

    @pytest.mark.parametrize(
        "fields",
        [
            {"kind": "late", "sessions": 1},
            {"kind": "suppress"},
            {"kind": "reset", "entries": -1},
            {"kind": "x"},
            {"kind": "exclude"},
            {"kind": "silent", "filter": "x"},
            {"kind": "exclude", "filter": "x"},
        ],
    )
    async def test_that_make_no_sense_are_refused(self, world: World, fields: dict[str, object]) -> None:
        with pytest.raises(ValueError, match="LoggingFault"):
            world.server.set_fault(**fields)  # type: ignore[arg-type]


class TestControl:
    async def test_scripts_faults_over_http(self, world: World) -> None:
        app = web.Application()
        add_logging_routes(app, world.server)
        async with TestServer(app) as http, ClientSession(http.make_url("/")) as session:
            async with session.post("/emulator/logging/faults", json={"kind": "silent", "for_s": 60}) as answer:
                assert answer.status == 201
            async with session.post("/emulator/logging/faults", json={"kind": "silnt"}) as answer:
                assert (answer.status, "kind" in await answer.text()) == (422, True)
            tailing = await world.tail()
            async with session.get("/emulator/logging") as answer:
                shown = await answer.json()
            async with session.delete("/emulator/logging/faults") as answer:
                assert answer.status == 204

        assert [fault["kind"] for fault in shown["faults"]] == ["silent"]
        assert shown["sessions"] == [REQUESTS]
        assert world.server.faults() == []
        assert tailing.stream is not None

    async def test_the_whole_emulator_logs_its_own_traffic(self) -> None:
        async with running_cloud(log_delay_s=0.0) as cloud:
            address = cloud.emulator.endpoints()["env"]["CLOUD_LOGGING_EMULATOR_HOST"]
            request = types.TailLogEntriesRequest(resource_names=[f"projects/{PROJECT}"], filter=REQUESTS)
            async with connected(address) as client:
                tailing = await ask(client, request)
                reading = asyncio.ensure_future(tailing.read())
                await until(lambda: cloud.emulator.logging.sessions == 1)
                status, _ = await cloud.get(f"{cloud.url}/api/v1/couriers", agent="a user")
                (entry,) = (await reading).entries
            _, shown = await cloud.control("GET", "logging")

        assert (entry.http_request.status, entry.http_request.user_agent) == (status, "a user")
        assert entry.http_request.request_url == f"{cloud.url}/api/v1/couriers"
        assert shown["delivered"] == 1

    async def test_a_reset_of_the_emulator_ends_faults(self) -> None:
        async with running_cloud() as cloud:
            await cloud.control("POST", "logging/faults", {"kind": "silent"})
            await cloud.control("POST", "reset")

            assert cloud.emulator.logging.faults() == []

    @pytest.mark.parametrize(
        "wrong", [{"delivery_delay_s": -1.0}, {"entries_per_minute": 0}, {"longest_session_s": 0.0}]
    )
    async def test_settings_that_make_no_sense_are_refused(self, wrong: dict[str, float]) -> None:
        with pytest.raises(ValueError, match="must"):
            async with emulated(**wrong):
                pass
