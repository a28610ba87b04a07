"""The PagerDuty collector: Events API v2 as it answers, and the incidents that it would keep."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.emulator.collector_world import World, collectors

KEY = "0123456789abcdef0123456789abcdef"
OTHER_KEY = "f" * 32


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with collectors() as world:
        yield world


def event(action: str = "trigger", *, key: str = KEY, dedup: str | None = "watch/1", **payload: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"routing_key": key, "event_action": action}
    if dedup is not None:
        body["dedup_key"] = dedup
    if action == "trigger":
        body["payload"] = {"summary": "health_check failing", "source": "api/us-central1", "severity": "critical"}
        body["payload"] |= payload
    return body


async def send(world: World, body: Any) -> tuple[int, Any]:
    world.clock.at += 1
    return await world.post("/pagerduty/v2/enqueue", body)


async def statuses(world: World) -> list[tuple[str, str]]:
    found = (await world.read("/emulator/collectors/pagerduty"))["incidents"]
    return [(incident["dedup_key"], incident["status"]) for incident in found]


class TestIncidents:
    async def test_a_trigger_opens_one(self, world: World) -> None:
        status, body = await send(world, event(component="api", custom_details={"p99": 3}))

        assert (status, body) == (
            202,
            {"status": "success", "message": "Event processed", "dedup_key": "watch/1"},
        )
        (incident,) = (await world.read("/emulator/collectors/pagerduty"))["incidents"]
        assert (incident["status"], incident["severity"], incident["summary"]) == (
            "triggered",
            "critical",
            "health_check failing",
        )
        assert incident["last_payload"]["custom_details"] == {"p99": 3}
        assert incident["opened_at"] == world.clock.at

    async def test_the_same_key_joins_it(self, world: World) -> None:
        await send(world, event())
        await send(world, event(summary="still failing", severity="warning"))

        (incident,) = (await world.read("/emulator/collectors/pagerduty"))["incidents"]
        assert [entry["summary"] for entry in incident["log"]] == ["health_check failing", "still failing"]
        assert incident["last_payload"]["summary"] == "still failing"

    async def test_acknowledge_then_resolve(self, world: World) -> None:
        await send(world, event())
        await send(world, event("acknowledge"))

        assert await statuses(world) == [("watch/1", "acknowledged")]

        await send(world, event())

        assert await statuses(world) == [("watch/1", "acknowledged")], "a further trigger keeps the acknowledgement"

        await send(world, event("resolve"))
        (incident,) = world.collected.pagerduty.incidents()

        assert incident["status"] == "resolved"
        assert incident["opened_at"] < incident["acknowledged_at"] < incident["resolved_at"] == world.clock.at

    async def test_a_trigger_after_a_resolve_opens_a_new_one(self, world: World) -> None:
        await send(world, event())
        await send(world, event("resolve"))
        await send(world, event())

        assert await statuses(world) == [("watch/1", "resolved"), ("watch/1", "triggered")]

    @pytest.mark.parametrize("action", ["acknowledge", "resolve"])
    async def test_without_an_open_one_it_is_accepted_and_dropped(self, world: World, action: str) -> None:
        status, _ = await send(world, event(action))

        assert status == 202
        assert await statuses(world) == []
        (received,) = world.collected.received("pagerduty")
        assert received.accepted
        assert "dropped" in received.note

    async def test_keys_are_per_routing_key(self, world: World) -> None:
        await send(world, event())
        await send(world, event(key=OTHER_KEY))
        await send(world, event("resolve", key=OTHER_KEY))

        assert await statuses(world) == [("watch/1", "triggered"), ("watch/1", "resolved")]

    async def test_without_a_key_every_trigger_is_another_incident(self, world: World) -> None:
        _, first = await send(world, event(dedup=None))
        _, second = await send(world, event(dedup=None))

        assert first["dedup_key"] != second["dedup_key"]
        assert len(await statuses(world)) == 2


class TestValidation:
    @pytest.mark.parametrize(
        "change, error",
        [
            ({"routing_key": "short"}, "Length of 'routing_key' is incorrect (should be 32 characters)"),
            ({"routing_key": None}, "'routing_key' is missing or blank"),
            ({"event_action": "explode"}, "'event_action' is invalid"),
            ({"event_action": None}, "'event_action' is missing or blank"),
            ({"dedup_key": "k" * 256}, "Length of 'dedup_key' is incorrect (should be at most 255 characters)"),
            ({"dedup_key": 5}, "'dedup_key' is invalid"),
            ({"payload": None}, "'payload.summary' is missing or blank"),
            ({"payload": {"source": "s", "severity": "error"}}, "'payload.summary' is missing or blank"),
            (
                {"payload": {"summary": "s" * 1025, "source": "s", "severity": "error"}},
                "Length of 'payload.summary' is incorrect",
            ),
            ({"payload": {"summary": "s", "severity": "error"}}, "'payload.source' is missing or blank"),
            ({"payload": {"summary": "s", "source": "s"}}, "'payload.severity' is missing or blank"),
            ({"payload": {"summary": "s", "source": "s", "severity": "bad"}}, "'payload.severity' is invalid"),
            (
                {"payload": {"summary": "s", "source": "s", "severity": "info", "timestamp": "yesterday"}},
                "'payload.timestamp' is invalid",
            ),
        ],
    )
    async def test_an_invalid_event_is_400_with_its_errors(
        self, world: World, change: dict[str, Any], error: str
    ) -> None:
        status, body = await send(world, event() | change)

        assert status == 400
        assert (body["status"], body["message"]) == ("invalid event", "Event object is invalid")
        assert any(error in found for found in body["errors"])
        assert await statuses(world) == []
        assert not world.collected.received("pagerduty")[0].accepted

    async def test_all_errors_are_named_at_once(self, world: World) -> None:
        _, body = await send(world, {"routing_key": KEY, "event_action": "trigger"})

        assert len(body["errors"]) == 3

    async def test_acknowledging_needs_a_key(self, world: World) -> None:
        status, body = await send(world, event("acknowledge", dedup=None))

        assert (status, body["errors"]) == (400, ["'dedup_key' is missing or blank"])

    @pytest.mark.parametrize("body", [b"{", b"[]", b"\xff"])
    async def test_what_is_no_event_is_400(self, world: World, body: bytes) -> None:
        async with world.session.post("/pagerduty/v2/enqueue", data=body) as response:
            assert response.status == 400

    async def test_half_a_megabyte_is_the_limit(self, world: World) -> None:
        status, body = await send(world, event(custom_details={"log": "x" * 512 * 1024}))

        assert status == 400
        assert "512 KB" in body["errors"][0]

    async def test_an_unknown_key_is_400(self, world: World) -> None:
        world.collected.pagerduty.unknown_routing_keys.add(KEY)

        assert (await send(world, event()))[1]["errors"] == ["Invalid routing key"]

    async def test_a_timestamp_may_be_any_iso_8601(self, world: World) -> None:
        assert (await send(world, event(timestamp="2026-01-31T12:00:00.123Z")))[0] == 202


class TestChangeEvents:
    async def test_are_kept_apart_from_incidents(self, world: World) -> None:
        change = {
            "routing_key": KEY,
            "payload": {"summary": "deployed api-00002", "source": "watchdog", "timestamp": "2026-01-31T12:00:00Z"},
            "links": [{"href": "http://x", "text": "watch"}],
        }
        status, body = await world.post("/pagerduty/v2/change/enqueue", change)

        assert (status, body) == (202, {"status": "success", "message": "Change event processed"})
        shown = await world.read("/emulator/collectors/pagerduty")
        assert shown["incidents"] == []
        assert shown["changes"] == [{"at": world.clock.at, **change}]
        assert [entry["kind"] for entry in shown["received"]] == ["change"]

    @pytest.mark.parametrize("body", [{"payload": {"summary": "x"}}, {"routing_key": KEY, "payload": {}}])
    async def test_need_key_and_summary(self, world: World, body: dict[str, Any]) -> None:
        status, _ = await world.post("/pagerduty/v2/change/enqueue", body)

        assert status == 400
