"""Reading the collectors back, waiting for them, and scripting how they fail their senders."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientConnectionError, ClientSession, ClientTimeout, web
from aiohttp.test_utils import TestServer

from tests.emulator.collector_world import TOKEN, World, collectors
from watchdog.emulator.collectors import Collected, add_routes

POST = "/slack/api/chat.postMessage"
HELLO = {"channel": "#ops", "text": "hello"}
EVENT = {
    "routing_key": "0" * 32,
    "event_action": "trigger",
    "dedup_key": "watch/1",
    "payload": {"summary": "down", "source": "api", "severity": "critical"},
}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with collectors() as world:
        yield world


async def status_of(world: World, path: str, body: dict[str, Any], **options: Any) -> int:
    async with world.session.post(path, json=body, headers=TOKEN, **options) as response:
        await response.read()
        return response.status


class TestReadingBack:
    async def test_everything_in_order_with_its_time(self, world: World) -> None:
        await world.slack("chat.postMessage", HELLO)
        world.clock.at += 5
        await world.post("/pagerduty/v2/enqueue", EVENT)
        await world.slack("chat.postMessage", {"channel": "#ops"})

        slack = (await world.read("/emulator/collectors/slack"))["received"]
        (page,) = (await world.read("/emulator/collectors/pagerduty"))["received"]

        assert [(entry["seq"], entry["kind"], entry["accepted"]) for entry in slack] == [
            (1, "chat.postMessage", True),
            (3, "chat.postMessage", False),
        ]
        assert slack[0] == {
            "seq": 1,
            "at": world.clock.at - 5,
            "channel": "slack",
            "kind": "chat.postMessage",
            "body": HELLO,
            "accepted": True,
            "status": 200,
            "note": "",
            "behaviour": "",
        }
        assert (page["seq"], page["at"], page["body"], page["status"]) == (2, world.clock.at, EVENT, 202)

    async def test_only_what_came_later(self, world: World) -> None:
        await world.slack("chat.postMessage", HELLO)
        await world.slack("chat.postMessage", HELLO)

        later = (await world.read("/emulator/collectors/slack?after=1"))["received"]

        assert [entry["seq"] for entry in later] == [2]

    async def test_waiting_for_the_first_later_one(self, world: World) -> None:
        waiting = asyncio.create_task(world.read("/emulator/collectors/slack?after=0&wait_s=4"))
        await asyncio.sleep(0)
        await world.slack("chat.postMessage", HELLO)

        assert len((await waiting)["received"]) == 1

    async def test_waiting_ends_with_an_empty_list(self, world: World) -> None:
        assert (await world.read("/emulator/collectors/smtp?wait_s=0.05"))["received"] == []

    async def test_in_process_one_can_wait_for_a_certain_entry(self, world: World) -> None:
        await world.slack("auth.test", {})
        waiting = asyncio.create_task(world.collected.wait_for("slack", lambda entry: entry.kind == "chat.postMessage"))
        await world.slack("chat.postMessage", HELLO)

        assert (await waiting).seq == 2
        with pytest.raises(TimeoutError):
            await world.collected.wait_for("slack", after=2, timeout_s=0.02)

    async def test_forgetting(self, world: World) -> None:
        await world.slack("chat.postMessage", HELLO)
        await world.post("/pagerduty/v2/enqueue", EVENT)
        await world.script("pagerduty", kind="status")

        for channel in ("slack", "pagerduty"):
            async with world.session.delete(f"/emulator/collectors/{channel}") as response:
                assert response.status == 204

        assert await world.read("/emulator/collectors/slack") == {"received": [], "messages": []}
        assert await world.read("/emulator/collectors/pagerduty") == {"received": [], "incidents": [], "changes": []}
        assert await status_of(world, "/pagerduty/v2/enqueue", EVENT) == 202

    async def test_clearing_all_at_once(self, world: World) -> None:
        await world.slack("chat.postMessage", HELLO)
        world.collected.clear()

        assert world.collected.received("slack") == []

    async def test_an_unknown_collector_is_422(self, world: World) -> None:
        async with world.session.get("/emulator/collectors/fax") as response:
            assert response.status == 422
            assert "there are slack, pagerduty, smtp" in (await response.json())["error"]["message"]
        async with world.session.get("/emulator/collectors/slack?after=x") as response:
            assert response.status == 422

    def test_memory_is_bounded(self) -> None:
        collected = Collected(keep=3)
        for number in range(10):
            collected.add("slack", "webhook", {"n": number}, accepted=True, status=200)

        assert [entry.body["n"] for entry in collected.received("slack")] == [7, 8, 9]


class TestBehaviours:
    async def test_rate_limit_says_when_to_come_again(self, world: World) -> None:
        await world.script("slack", kind="rate_limited", retry_after_s=7, calls=2)

        for _ in range(2):
            async with world.session.post(POST, json=HELLO, headers=TOKEN) as response:
                assert (response.status, response.headers["Retry-After"]) == (429, "7")
                assert await response.json() == {"ok": False, "error": "ratelimited"}
        assert (await world.slack("chat.postMessage", HELLO))["ok"]
        assert [(entry.status, entry.accepted, entry.behaviour) for entry in world.collected.received("slack")] == [
            (429, False, "rate_limited"),
            (429, False, "rate_limited"),
            (200, True, ""),
        ]

    async def test_pagerduty_is_throttled_in_its_own_words(self, world: World) -> None:
        await world.script("pagerduty", kind="rate_limited", calls=1)

        status, body = await world.post("/pagerduty/v2/enqueue", EVENT)

        assert (status, body["status"]) == (429, "throttle exceeded")
        assert world.collected.pagerduty.incidents() == []

    async def test_any_status_for_a_time(self, world: World) -> None:
        await world.script("pagerduty", kind="status", status=503, for_s=30)

        assert await status_of(world, "/pagerduty/v2/enqueue", EVENT) == 503
        world.clock.at += 30
        assert await status_of(world, "/pagerduty/v2/enqueue", EVENT) == 202
        assert (await world.read("/emulator/collectors/pagerduty/behaviours"))["behaviours"] == []

    async def test_a_status_is_500_unless_said_otherwise(self, world: World) -> None:
        await world.script("slack", kind="status", calls=1)

        assert await status_of(world, POST, HELLO) == 500

    async def test_an_error_word_of_the_vendor(self, world: World) -> None:
        await world.script("slack", kind="error", error="edit_window_closed", path="chat.update", calls=1)
        await world.script("pagerduty", kind="error", error="Invalid routing key", calls=1)

        assert (await world.slack("chat.postMessage", HELLO))["ok"]
        update = await world.slack("chat.update", {"channel": "C000000000", "ts": "1.000001", "text": "x"})
        assert update == {"ok": False, "error": "edit_window_closed"}
        status, body = await world.post("/pagerduty/v2/enqueue", EVENT)
        assert (status, body["errors"]) == (400, ["Invalid routing key"])

    async def test_a_hanging_collector_answers_nothing(self, world: World) -> None:
        await world.script("slack", kind="hang", calls=1)

        with pytest.raises(TimeoutError):
            await status_of(world, POST, HELLO, timeout=ClientTimeout(total=0.1))

        assert (await world.slack("chat.postMessage", HELLO))["ok"]
        hung, _ = world.collected.received("slack")
        assert (hung.accepted, hung.status, hung.behaviour) == (False, None, "hang")
        assert len(world.collected.slack.messages()) == 1

    async def test_a_hang_may_end_in_a_reset(self, world: World) -> None:
        await world.script("slack", kind="hang", latency_s=0.05, calls=1)

        with pytest.raises(ClientConnectionError):
            await status_of(world, POST, HELLO)

    async def test_the_server_ends_while_requests_hang(self) -> None:
        collected = Collected()
        app = web.Application()
        add_routes(app, collected)
        server = TestServer(app)
        await server.start_server()
        async with ClientSession(server.make_url("/")) as session:
            await session.post("/emulator/collectors/slack/behaviours", json={"kind": "hang"})
            hanging = asyncio.create_task(session.post(POST, json=HELLO, headers=TOKEN))
            await collected.wait_for("slack")

            await asyncio.wait_for(server.close(), timeout=2.0)

            with pytest.raises(ClientConnectionError):
                await hanging

    async def test_a_reset_takes_nothing_in(self, world: World) -> None:
        await world.script("pagerduty", kind="reset", calls=1)

        with pytest.raises(ClientConnectionError):
            await status_of(world, "/pagerduty/v2/enqueue", EVENT)

        assert world.collected.pagerduty.incidents() == []
        assert world.collected.received("pagerduty")[0].accepted is False

    async def test_a_lost_answer_was_taken_in(self, world: World) -> None:
        """The sender has to retry, and its dedup_key has to make that harmless."""
        await world.script("pagerduty", kind="lost_answer", calls=1)

        with pytest.raises(ClientConnectionError):
            await status_of(world, "/pagerduty/v2/enqueue", EVENT)
        await status_of(world, "/pagerduty/v2/enqueue", EVENT)

        (incident,) = world.collected.pagerduty.incidents()
        assert len(incident["log"]) == 2
        first, second = world.collected.received("pagerduty")
        assert (first.accepted, first.status) == (True, None)
        assert (second.accepted, second.status) == (True, 202)

    async def test_a_dripping_answer_arrives_whole_in_the_end(self, world: World) -> None:
        await world.script("slack", kind="drip", latency_s=0.01, path="/slack/webhook/", calls=1)
        loop = asyncio.get_running_loop()
        start = loop.time()

        assert await world.post("/slack/webhook/x", {"text": "hi"}) == (200, "ok")

        assert loop.time() - start >= 0.02

    async def test_a_sender_without_patience_for_drips(self, world: World) -> None:
        await world.script("slack", kind="drip", latency_s=0.1, calls=1)

        with pytest.raises(TimeoutError):
            await status_of(world, POST, HELLO, timeout=ClientTimeout(total=0.15))

        assert (await world.slack("chat.postMessage", HELLO))["ok"]

    async def test_latency(self, world: World) -> None:
        await world.script("slack", kind="latency", latency_s=0.1, calls=1)
        loop = asyncio.get_running_loop()
        start = loop.time()

        assert (await world.slack("chat.postMessage", HELLO))["ok"]

        assert loop.time() - start >= 0.1

    async def test_can_be_read_and_ended(self, world: World) -> None:
        await world.script("slack", kind="status", status=502, calls=3)
        await status_of(world, POST, HELLO)

        (behaviour,) = (await world.read("/emulator/collectors/slack/behaviours"))["behaviours"]
        assert (behaviour["kind"], behaviour["status"], behaviour["calls"]) == ("status", 502, 2)

        await world.session.delete("/emulator/collectors/slack/behaviours")
        assert await status_of(world, POST, HELLO) == 200

    @pytest.mark.parametrize(
        "channel, behaviour, sentence",
        [
            ("slack", {"kind": "explode"}, "kind: Input should be"),
            ("slack", {"kind": "status", "calls": 0}, "calls: Input should be greater than or equal to 1"),
            ("slack", {"kind": "status", "colour": "red"}, "colour: Extra inputs are not permitted"),
            ("slack", {"kind": "error"}, "needs the vendor's error word"),
            ("slack", {"kind": "latency"}, "needs `latency_s` above 0"),
            ("smtp", {"kind": "rate_limited"}, "mail can only hang, latency, lost_answer, reset, status"),
            ("smtp", {"kind": "latency", "latency_s": 1, "stage": "connect"}, "nothing to delay or lose"),
        ],
    )
    async def test_that_make_no_sense_are_422(
        self, world: World, channel: str, behaviour: dict[str, Any], sentence: str
    ) -> None:
        status, body = await world.post(f"/emulator/collectors/{channel}/behaviours", behaviour)

        assert status == 422
        assert sentence in body["error"]["message"]
