"""The Slack collector: what Slack would take, what it would refuse and with which word."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.emulator.collector_world import JSON, TOKEN, World, collectors
from watchdog.emulator.slack_blocks import check_blocks
from watchdog.emulator.slack_workspace import channel_id


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with collectors() as world:
        yield world


def section(text: str = "hello") -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


class TestPosting:
    async def test_answers_channel_id_ts_and_message(self, world: World) -> None:
        answer = await world.slack("chat.postMessage", {"channel": "#ops", "text": "down", "blocks": [section()]})

        assert answer["ok"] is True
        assert answer["channel"] == channel_id("#ops") == channel_id("ops")
        assert answer["ts"] == "1800000000.000001"
        assert answer["message"]["text"] == "down"
        assert answer["message"]["blocks"] == [section()]
        assert answer["message"]["ts"] == answer["ts"]

    async def test_every_message_has_its_own_ts_in_order(self, world: World) -> None:
        first = await world.slack("chat.postMessage", {"channel": "ops", "text": "1"})
        second = await world.slack("chat.postMessage", {"channel": "ops", "text": "2"})

        assert first["ts"] < second["ts"]

    async def test_a_thread_and_its_broadcast(self, world: World) -> None:
        root = await world.slack("chat.postMessage", {"channel": "#ops", "text": "watch opened"})
        reply = await world.slack(
            "chat.postMessage",
            {"channel": root["channel"], "text": "rolled back", "thread_ts": root["ts"], "reply_broadcast": True},
        )

        assert reply["message"]["thread_ts"] == root["ts"]
        _, stored = (await world.read("/emulator/collectors/slack"))["messages"]
        assert (stored["thread_ts"], stored["reply_broadcast"], stored["orphan"]) == (root["ts"], True, False)

    async def test_a_reply_to_nothing_is_ok_and_seen_nowhere(self, world: World) -> None:
        answer = await world.slack(
            "chat.postMessage", {"channel": "#ops", "text": "lost", "thread_ts": "1700000000.000001"}
        )

        assert answer["ok"] is True
        assert [message["orphan"] for message in world.collected.slack.messages()] == [True]

    async def test_a_malformed_thread_ts_is_refused(self, world: World) -> None:
        answer = await world.slack("chat.postMessage", {"channel": "#ops", "text": "x", "thread_ts": 1700000000.5})

        assert answer == {
            "ok": False,
            "error": "invalid_thread_ts",
            "response_metadata": {"messages": ["[ERROR] 1700000000.5 is not a valid thread_ts"]},
        }

    async def test_takes_forms_as_well(self, world: World) -> None:
        form = {"token": "xoxb-form", "channel": "#ops", "text": "hi", "blocks": json.dumps([section()])}
        async with world.session.post("/slack/api/chat.postMessage", data=form) as response:
            answer = await response.json()

        assert answer["message"]["blocks"] == [section()]
        (received,) = world.collected.received("slack")
        assert "token" not in received.body, "a token is nobody's business"

    async def test_json_without_a_charset_is_warned_about(self, world: World) -> None:
        answer = await world.slack(
            "chat.postMessage", {"channel": "#ops", "text": "hi"}, **{"Content-Type": "application/json"}
        )

        assert answer["warning"] == "missing_charset"

    @pytest.mark.parametrize(
        "fields, error",
        [
            ({"channel": "#ops"}, "no_text"),
            ({"channel": "#ops", "text": ""}, "no_text"),
            ({"text": "hi"}, "channel_not_found"),
            ({"channel": "#ops", "text": "x" * 40_001}, "msg_too_long"),
            ({"channel": "#ops", "text": 5}, "invalid_arguments"),
            ({"channel": "#ops", "blocks": [section()] * 51}, "invalid_blocks"),
            ({"channel": "#ops", "blocks": {"type": "section"}}, "invalid_blocks_format"),
            ({"channel": "#ops", "blocks": "not json"}, "invalid_blocks_format"),
        ],
    )
    async def test_refusals_are_http_200_and_not_ok(self, world: World, fields: dict[str, Any], error: str) -> None:
        answer = await world.slack("chat.postMessage", fields)

        assert (answer["ok"], answer["error"]) == (False, error)
        (received,) = world.collected.received("slack")
        assert (received.accepted, received.note) == (False, error)
        assert world.collected.slack.messages() == []

    async def test_too_many_blocks_are_named(self, world: World) -> None:
        answer = await world.slack("chat.postMessage", {"channel": "#ops", "blocks": [section()] * 51})

        assert answer["errors"] == ["no more than 50 items allowed [json-pointer:/blocks]"]
        assert answer["response_metadata"]["messages"] == [
            "[ERROR] no more than 50 items allowed [json-pointer:/blocks]"
        ]

    async def test_channels_can_be_missing_or_archived(self, world: World) -> None:
        async with world.session.put(
            "/emulator/collectors/slack/channels", json={"#gone": "channel_not_found", "old": "is_archived"}
        ) as response:
            assert response.status == 200

        assert (await world.slack("chat.postMessage", {"channel": "gone", "text": "x"}))["error"] == "channel_not_found"
        assert (await world.slack("chat.postMessage", {"channel": "#old", "text": "x"}))["error"] == "is_archived"
        by_id = await world.slack("chat.postMessage", {"channel": channel_id("old"), "text": "x"})
        assert by_id["error"] == "is_archived"
        assert (await world.slack("chat.postMessage", {"channel": "#ops", "text": "x"}))["ok"]


class TestUpdating:
    async def test_replaces_the_text_and_keeps_the_blocks(self, world: World) -> None:
        root = await world.slack("chat.postMessage", {"channel": "#ops", "text": "one", "blocks": [section()]})
        world.clock.at += 60

        answer = await world.slack("chat.update", {"channel": root["channel"], "ts": root["ts"], "text": "two"})

        assert (answer["ok"], answer["ts"], answer["text"]) == (True, root["ts"], "two")
        (message,) = (await world.read("/emulator/collectors/slack"))["messages"]
        assert (message["text"], message["earlier"], message["blocks"]) == ("two", ["one"], [section()])
        assert message["updated_at"] == world.clock.at

    async def test_replaces_the_blocks_when_some_are_given(self, world: World) -> None:
        root = await world.slack("chat.postMessage", {"channel": "#ops", "text": "one", "blocks": [section()]})

        await world.slack("chat.update", {"channel": root["channel"], "ts": root["ts"], "blocks": [section("new")]})

        (message,) = world.collected.slack.messages()
        assert (message["text"], message["blocks"]) == ("one", [section("new")])

    async def test_wants_the_channels_id_not_its_name(self, world: World) -> None:
        root = await world.slack("chat.postMessage", {"channel": "#ops", "text": "one"})

        answer = await world.slack("chat.update", {"channel": "#ops", "ts": root["ts"], "text": "two"})

        assert answer["error"] == "channel_not_found"

    @pytest.mark.parametrize(
        "fields, error",
        [
            ({"text": "two", "ts": "1.000001"}, "message_not_found"),
            ({"ts": "1800000000.000001"}, "no_text"),
            ({"text": "x" * 4_001, "ts": "1800000000.000001"}, "msg_too_long"),
            ({"text": "x", "blocks": [{"type": "nope"}], "ts": "1800000000.000001"}, "invalid_blocks"),
        ],
    )
    async def test_refuses(self, world: World, fields: dict[str, Any], error: str) -> None:
        root = await world.slack("chat.postMessage", {"channel": "#ops", "text": "one"})

        answer = await world.slack("chat.update", {"channel": root["channel"]} | fields)

        assert answer["error"] == error
        assert [message["text"] for message in world.collected.slack.messages()] == ["one"]


class TestAuthentication:
    @pytest.mark.parametrize(
        "headers, error", [({}, "not_authed"), ({"Authorization": "Bearer nonsense"}, "invalid_auth")]
    )
    async def test_is_required(self, world: World, headers: dict[str, str], error: str) -> None:
        async with world.session.post("/slack/api/auth.test", json={}, headers=headers | JSON) as response:
            assert response.status == 200
            assert await response.json() == {"ok": False, "error": error}

    async def test_auth_test_names_bot_and_team(self, world: World) -> None:
        async with world.session.get("/slack/api/auth.test", headers=TOKEN) as response:
            answer = await response.json()

        assert answer["ok"] is True
        assert {"url", "team", "user", "team_id", "user_id", "bot_id"} <= set(answer)

    async def test_unknown_methods_are_said_to_be_unknown(self, world: World) -> None:
        answer = await world.slack("chat.shout", {})

        assert (answer["error"], answer["req_method"]) == ("unknown_method", "chat.shout")

    @pytest.mark.parametrize(
        "body, content_type, error",
        [
            (b"{", "application/json", "invalid_json"),
            (b"[]", "application/json", "json_not_object"),
            (b"text=hi", "text/plain", "invalid_post_type"),
        ],
    )
    async def test_bodies_that_are_no_arguments(self, world: World, body: bytes, content_type: str, error: str) -> None:
        async with world.session.post(
            "/slack/api/chat.postMessage", data=body, headers=TOKEN | {"Content-Type": content_type}
        ) as response:
            assert (await response.json())["error"] == error


class TestWebhook:
    async def test_answers_ok_as_text(self, world: World) -> None:
        status, text = await world.post("/slack/webhook/T0/B0/secret", {"text": "hi", "blocks": [section()]})

        assert (status, text) == (200, "ok")
        (message,) = world.collected.slack.messages()
        assert (message["channel_name"], message["text"]) == ("webhook", "hi")

    async def test_takes_the_old_form_too(self, world: World) -> None:
        async with world.session.post("/slack/webhook/x", data={"payload": '{"text": "hi"}'}) as response:
            assert (response.status, await response.text()) == (200, "ok")

    @pytest.mark.parametrize(
        "body, expected",
        [
            (b"{", (400, "invalid_payload")),
            (b'"text"', (400, "invalid_payload")),
            (b"\xff", (400, "invalid_payload")),
            (b"{}", (400, "no_text")),
            (b'{"blocks": [{"type": "header"}]}', (400, "invalid_blocks")),
        ],
    )
    async def test_refuses(self, world: World, body: bytes, expected: tuple[int, str]) -> None:
        async with world.session.post("/slack/webhook/x", data=body, headers=JSON) as response:
            assert (response.status, await response.text()) == expected

    @pytest.mark.parametrize(
        "error, status",
        [("no_service", 404), ("channel_not_found", 404), ("channel_is_archived", 410), ("action_prohibited", 403)],
    )
    async def test_can_be_gone(self, world: World, error: str, status: int) -> None:
        await world.script("slack", kind="error", error=error, path="/slack/webhook/")

        assert await world.post("/slack/webhook/x", {"text": "hi"}) == (status, error)
        assert (await world.slack("auth.test", {}))["ok"], "only the webhook is"


class TestBlocks:
    @pytest.mark.parametrize(
        "block",
        [
            {"type": "divider"},
            section("x" * 3000),
            {"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2000}] * 10},
            {"type": "header", "text": {"type": "plain_text", "text": "x" * 150}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 10},
            {"type": "actions", "elements": [{"type": "button", "text": {"type": "plain_text", "text": "Ack"}}] * 25},
            {"type": "markdown", "text": "x" * 12_000},
            {"type": "image", "image_url": "http://x", "alt_text": "x", "block_id": "b" * 255},
        ],
    )
    def test_what_fits_is_taken(self, block: dict[str, Any]) -> None:
        assert check_blocks([block]) == []

    @pytest.mark.parametrize(
        "block, sentence",
        [
            ("text", "must be an object [json-pointer:/blocks/0]"),
            ({"type": "sektion"}, "unsupported type: sektion [json-pointer:/blocks/0/type]"),
            ({"type": "section"}, "missing required field: text [json-pointer:/blocks/0]"),
            (section("x" * 3001), "must be less than 3001 characters [json-pointer:/blocks/0/text/text]"),
            (section(""), "must be more than 0 characters [json-pointer:/blocks/0/text/text]"),
            ({"type": "section", "text": "hi"}, "must be a text object [json-pointer:/blocks/0/text]"),
            (
                {"type": "section", "fields": [{"type": "mrkdwn", "text": "x"}] * 11},
                "no more than 10 items allowed [json-pointer:/blocks/0/fields]",
            ),
            (
                {"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2001}]},
                "must be less than 2001 characters [json-pointer:/blocks/0/fields/0/text]",
            ),
            (
                {"type": "header", "text": {"type": "mrkdwn", "text": "x"}},
                "must be of type plain_text [json-pointer:/blocks/0/text]",
            ),
            (
                {"type": "header", "text": {"type": "plain_text", "text": "x" * 151}},
                "must be less than 151 characters [json-pointer:/blocks/0/text/text]",
            ),
            ({"type": "context", "elements": []}, "missing required field: elements [json-pointer:/blocks/0]"),
            (
                {"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 11},
                "no more than 10 items allowed [json-pointer:/blocks/0/elements]",
            ),
            (
                {"type": "actions", "elements": [{"type": "button", "text": {"type": "plain_text", "text": "x" * 76}}]},
                "must be less than 76 characters [json-pointer:/blocks/0/elements/0/text/text]",
            ),
            (
                {
                    "type": "section",
                    "text": {"type": "mrkdwn", "text": "x"},
                    "accessory": {
                        "type": "button",
                        "text": {"type": "plain_text", "text": "x"},
                        "value": "x" * 2001,
                    },
                },
                "must be less than 2001 characters [json-pointer:/blocks/0/accessory/value]",
            ),
            ({"type": "divider", "block_id": "b" * 256}, "must be less than 256 characters"),
            ({"type": "divider", "block_id": 5}, "must be a string [json-pointer:/blocks/0/block_id]"),
            ({"type": "section", "fields": "x"}, "must be an array [json-pointer:/blocks/0/fields]"),
            ({"type": "actions", "elements": ["x"]}, "must be an object [json-pointer:/blocks/0/elements/0]"),
            (
                {"type": "actions", "elements": [{"type": "button", "text": "Ack"}]},
                "must be of type plain_text [json-pointer:/blocks/0/elements/0/text]",
            ),
            (
                {
                    "type": "actions",
                    "elements": [{"type": "button", "text": {"type": "plain_text", "text": "x"}, "style": "loud"}],
                },
                "must be one of: primary, danger [json-pointer:/blocks/0/elements/0/style]",
            ),
            ({"type": "markdown", "text": "x" * 12_001}, "must be less than 12001 characters"),
        ],
    )
    def test_what_does_not_fit_is_named_with_its_place(self, block: object, sentence: str) -> None:
        assert any(sentence in found for found in check_blocks([block]))
