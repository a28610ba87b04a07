"""One root message a watch, events in its thread, and no page lost over a message that only decorates."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.actions.conftest import World
from tests.actions.messages import BASE, DECISION, OPENED, ROLLED_BACK, assert_golden, delivery
from tests.actions.recorder import Answer, recording
from watchdog.actions.slack import SlackNotifier
from watchdog.actions.slack_whisper import Whisperer
from watchdog.emulator.collector_behaviour import Behaviour
from watchdog.errors import PermanentError, TemporaryError
from watchdog.ports import Notifier, Receipt
from watchdog.settings import SlackSettings


def sent(world: World, kind: str) -> list[Any]:
    return [entry.body for entry in world.collected.received("slack") if entry.kind == kind]


async def play(slack: Notifier, *bodies: Mapping[str, Any]) -> Receipt:
    """Deliver in order, remembering as the outbox does: every receipt adds to what its thread remembers."""
    remembered: dict[str, str] = {}
    for body in bodies:
        receipt = await slack.deliver(delivery(body, remembered=remembered))
        remembered.update(receipt.remember)
    return Receipt(provider_id=receipt.provider_id, remember=remembered)


class TestThread:
    async def test_a_watch_is_one_root_message_with_its_events_as_replies(self, world: World) -> None:
        receipt = await play(world.slack(), OPENED, DECISION, ROLLED_BACK)

        root, decision, rolled_back = world.collected.slack.messages()
        assert root["thread_ts"] == ""
        assert {message["thread_ts"] for message in (decision, rolled_back)} == {root["ts"]}
        assert [message["reply_broadcast"] for message in (decision, rolled_back)] == [False, True]
        assert not any(message["orphan"] for message in (decision, rolled_back))
        assert receipt.provider_id == f"{root['channel']}/{rolled_back['ts']}"
        assert receipt.remember["ts"] == root["ts"]

    async def test_the_root_says_where_the_watch_stands_now_and_how_it_began(self, world: World) -> None:
        await play(world.slack(), OPENED, DECISION, ROLLED_BACK)

        root = world.collected.slack.messages()[0]
        assert root["text"].splitlines()[1] == ROLLED_BACK["status"]
        told = str(root["blocks"])
        assert ROLLED_BACK["status"] in told
        assert OPENED["title"] in told
        assert OPENED["happened"] in told

    async def test_a_first_message_of_another_kind_becomes_the_root_and_keeps_its_decision(self, world: World) -> None:
        await play(world.slack(), DECISION, ROLLED_BACK)

        root, reply = world.collected.slack.messages()
        assert reply["thread_ts"] == root["ts"]
        assert "failed 5 times in a row" in str(root["blocks"])
        assert ROLLED_BACK["status"] in str(root["blocks"])

    @pytest.mark.parametrize("slash", ["", "/"])
    async def test_the_api_url_is_joined_with_or_without_a_slash(self, world: World, slash: str) -> None:
        await world.slack(slash=slash).deliver(delivery(OPENED))

        assert len(sent(world, "chat.postMessage")) == 1

    async def test_the_real_payloads(self, world: World) -> None:
        await play(world.slack(), OPENED, DECISION, ROLLED_BACK)

        posted, updated = sent(world, "chat.postMessage"), sent(world, "chat.update")
        for payload in (*posted, *updated):
            for moving in ("ts", "thread_ts"):
                payload.pop(moving, None)
        assert_golden("slack_opened", posted[0])
        assert_golden("slack_decision", posted[1])
        assert_golden("slack_rolled_back", posted[2])
        assert_golden("slack_root_after_rollback", updated[-1])


class TestUpdatesAreBestEffort:
    @pytest.mark.parametrize(
        "behaviour",
        [
            Behaviour(kind="status", path="chat.update"),
            Behaviour(kind="rate_limited", path="chat.update"),
            Behaviour(kind="reset", path="chat.update"),
            Behaviour(kind="error", error="some_new_error", path="chat.update"),
        ],
    )
    async def test_a_failing_update_never_loses_the_reply(self, world: World, behaviour: Behaviour) -> None:
        world.collected.behave("slack", behaviour)

        with capture_logs() as logs:
            receipt = await play(world.slack(), OPENED, DECISION)

        assert len(world.collected.slack.messages()) == 2
        assert [entry["event"] for entry in logs] == ["slack_root_update_failed"]
        world.collected.behaviours["slack"].clear()
        await world.slack().deliver(delivery(ROLLED_BACK, remembered=receipt.remember))
        assert world.collected.slack.messages()[0]["text"].endswith(ROLLED_BACK["status"])

    @pytest.mark.parametrize("error", ["cant_update_message", "edit_window_closed"])
    async def test_a_root_that_may_not_be_changed_gets_a_successor(self, world: World, error: str) -> None:
        slack = world.slack()
        receipt = await play(slack, OPENED)
        world.collected.behave("slack", Behaviour(kind="error", error=error, path="chat.update", calls=1))

        second = await slack.deliver(delivery(DECISION, remembered=receipt.remember))
        third = await slack.deliver(delivery(ROLLED_BACK, remembered={**receipt.remember, **second.remember}))

        old, reply, new, last = world.collected.slack.messages()
        assert (reply["thread_ts"], new["thread_ts"], last["thread_ts"]) == (old["ts"], "", new["ts"])
        assert new["text"].splitlines()[-1] == ROLLED_BACK["status"]
        assert third.remember["status"] == ROLLED_BACK["status"]

    async def test_a_successor_that_cannot_be_posted_does_not_lose_the_reply_either(self) -> None:
        async with recording(Answer(status=500)) as (server, session):
            slack = SlackNotifier(session, token="xoxb-1", slack_channel="c", api_url=server.url)
            server.answers.append(Answer(body={"ok": True, "ts": "2.0"}))
            server.answers.append(Answer(body={"ok": False, "error": "cant_update_message"}))

            receipt = await slack.deliver(delivery(DECISION, remembered={"ts": "1.0", "channel": "C1"}))

        assert receipt == Receipt(provider_id="C1/2.0", remember={})
        assert [seen.path for seen in server.seen] == ["/chat.postMessage", "/chat.update", "/chat.postMessage"]

    async def test_a_page_below_a_deleted_root_is_posted_where_people_see_it(self, world: World) -> None:
        """Slack takes such a reply, says ok, and shows it to nobody."""
        slack = world.slack()
        receipt = await play(slack, OPENED)
        world.collected.slack.clear()

        receipt = await slack.deliver(delivery(DECISION, remembered=receipt.remember))

        visible = [message for message in world.collected.slack.messages() if not message["orphan"]]
        assert len(visible) == 1
        assert "failed 5 times in a row" in str(visible[0]["blocks"])
        assert receipt.remember["ts"] == visible[0]["ts"]

    async def test_a_thread_that_slack_refuses_is_opened_anew(self, world: World) -> None:
        receipt = await world.slack().deliver(delivery(DECISION, remembered={"ts": "gone", "channel": "C0000000001"}))

        [root] = world.collected.slack.messages()
        assert receipt.remember["ts"] == root["ts"]


class TestRefusals:
    @pytest.mark.parametrize("error", ["internal_error", "fatal_error", "service_unavailable", "ratelimited"])
    async def test_what_may_pass_is_temporary(self, world: World, error: str) -> None:
        world.collected.behave("slack", Behaviour(kind="error", error=error))

        with pytest.raises(TemporaryError, match=error):
            await world.slack().deliver(delivery(OPENED))

    @pytest.mark.parametrize(
        "error,advice",
        [
            ("channel_not_found", "WATCHDOG_SLACK__CHANNEL"),
            ("not_in_channel", "/invite"),
            ("is_archived", "WATCHDOG_SLACK__CHANNEL"),
            ("invalid_auth", "WATCHDOG_SLACK__TOKEN"),
            ("token_revoked", "WATCHDOG_SLACK__TOKEN"),
            ("missing_scope", "chat:write"),
            ("something_new", "something_new"),
        ],
    )
    async def test_what_stays_is_permanent_and_says_what_to_do(self, world: World, error: str, advice: str) -> None:
        world.collected.behave("slack", Behaviour(kind="error", error=error))

        with pytest.raises(PermanentError, match=advice):
            await world.slack().deliver(delivery(OPENED))

    async def test_a_refused_reply_is_an_error_and_changes_nothing(self, world: World) -> None:
        receipt = await play(world.slack(), OPENED)
        world.collected.behave("slack", Behaviour(kind="error", error="not_in_channel", path="chat.postMessage"))

        with pytest.raises(PermanentError, match="not_in_channel"):
            await world.slack().deliver(delivery(DECISION, remembered=receipt.remember))

        assert sent(world, "chat.update") == []

    async def test_rate_limits_carry_their_delay(self, world: World) -> None:
        world.collected.behave("slack", Behaviour(kind="rate_limited", retry_after_s=17))

        with pytest.raises(TemporaryError) as caught:
            await world.slack().deliver(delivery(OPENED))

        assert caught.value.delay_s == 17.0

    @pytest.mark.parametrize("kind", ["reset", "lost_answer"])
    async def test_a_lost_connection_is_temporary_and_not_repeated_at_once(self, world: World, kind: Any) -> None:
        world.collected.behave("slack", Behaviour(kind=kind))

        with pytest.raises(TemporaryError):
            await world.slack().deliver(delivery(OPENED))

        assert len(world.collected.received("slack")) == 1

    @pytest.mark.parametrize("error", ["invalid_blocks", "msg_blocks_too_long", "invalid_blocks_format"])
    async def test_markup_that_is_refused_is_left_out_rather_than_the_page(self, world: World, error: str) -> None:
        world.collected.behave("slack", Behaviour(kind="error", error=error, calls=1))

        await world.slack().deliver(delivery(DECISION))

        [message] = world.collected.slack.messages()
        assert message["blocks"] == []
        assert "failed 5 times in a row" in message["text"]

    @pytest.mark.parametrize("answer", ["ok", "[]", '{"no": "ok"}'])
    async def test_an_answer_that_is_not_slacks_is_temporary(self, answer: str) -> None:
        async with recording(Answer(body=answer)) as (server, session):
            slack = SlackNotifier(session, token="xoxb-1", slack_channel="c", api_url=server.url)

            with pytest.raises(TemporaryError):
                await slack.deliver(delivery(OPENED))


class TestIncomingWebhook:
    async def test_every_message_stands_alone(self, world: World) -> None:
        receipt = await play(world.webhook(), OPENED, DECISION)

        assert receipt == Receipt()
        opened, decision = world.collected.slack.messages()
        assert (opened["channel_name"], decision["thread_ts"]) == ("webhook", "")
        assert "failed 5 times in a row" in decision["text"]
        assert_golden("slack_webhook_decision", sent(world, "webhook")[1])

    @pytest.mark.parametrize("error", ["invalid_payload", "invalid_token", "channel_not_found", "channel_is_archived"])
    async def test_what_stays_is_permanent(self, world: World, error: str) -> None:
        world.collected.behave("slack", Behaviour(kind="error", error=error))

        with pytest.raises(PermanentError, match=error):
            await world.webhook().deliver(delivery(OPENED))

    async def test_what_may_pass_is_temporary(self, world: World) -> None:
        world.collected.behave("slack", Behaviour(kind="error", error="rollup_error", calls=1))
        world.collected.behave("slack", Behaviour(kind="rate_limited", retry_after_s=3))

        with pytest.raises(TemporaryError, match="rollup_error"):
            await world.webhook().deliver(delivery(OPENED))
        with pytest.raises(TemporaryError) as caught:
            await world.webhook().deliver(delivery(OPENED))
        assert caught.value.delay_s == 3.0

    async def test_markup_that_is_refused_is_left_out(self, world: World) -> None:
        world.collected.behave("slack", Behaviour(kind="error", error="invalid_blocks", calls=1))

        await world.webhook().deliver(delivery(DECISION))

        assert world.collected.slack.messages()[0]["blocks"] == []

    async def test_a_token_is_preferred(self, world: World) -> None:
        both = SlackSettings(
            token="xoxb-1", channel="c", webhook_url=f"{world.url}/slack/webhook/x", api_url=f"{world.url}/slack/api"
        )
        slack = SlackNotifier.from_settings(world.session, both)
        assert slack is not None

        await slack.deliver(delivery(OPENED))

        assert sent(world, "webhook") == []

    async def test_without_settings_there_is_no_channel(self, world: World) -> None:
        assert SlackNotifier.from_settings(world.session, SlackSettings()) is None


class TestLimits:
    async def test_a_message_far_too_long_is_cut_and_accepted(self, world: World) -> None:
        """The emulator checks Slack's limits; the beginning of everything survives."""
        long = "<&>" * 5000
        huge = DECISION | {
            "title": "T" * 500,
            **dict.fromkeys(("happened", "did", "over", "todo", "status"), long),
            "evidence": [[f"row {number}", "x" * 400] for number in range(400)],
            "links": [{"href": f"https://example.com/{number}", "text": "|" * 200} for number in range(40)],
        }

        await play(world.slack(), huge, huge | {"status": "short"})

        assert all(entry.accepted for entry in world.collected.received("slack"))
        root, reply = world.collected.slack.messages()
        assert len(root["blocks"]) + len(reply["blocks"]) <= 100
        assert "&lt;&amp;&gt;" in reply["text"]

    async def test_a_message_with_nothing_in_it_is_still_a_message(self, world: World) -> None:
        await play(
            world.slack(), {}, {"kind": "note"}, {"links": [{"href": "javascript:x"}, None], "evidence": [["a"]]}
        )

        assert all(entry.accepted for entry in world.collected.received("slack"))

    async def test_markup_in_what_services_say_is_not_markup(self, world: World) -> None:
        body = BASE | {"kind": "note", "title": "t", "happened": "<!channel> <https://evil|click> a & b"}

        await play(world.slack(), OPENED, body)

        reply = world.collected.slack.messages()[1]
        assert "&lt;!channel&gt; &lt;https://evil|click&gt; a &amp; b" in reply["text"]
        assert "<!channel>" not in str(reply["blocks"])


# --- buttons, criteria, people ---

WITH_BUTTONS = {**DECISION, "actions": ["ack", "rollback", "hold"]}
CRITERIA = [["health_check failing", "FAIL"], ["error_rate < 1%", "PASS"], ["p95_latency < 500ms", "INCONCLUSIVE"]]


def clicking(world: World) -> SlackNotifier:
    settings = SlackSettings(
        token="xoxb-test-token", channel="#deploys", api_url=f"{world.url}/slack/api/", signing_secret="s3cret"
    )
    notifier = SlackNotifier.from_settings(world.session, settings)
    assert notifier is not None
    return notifier


async def test_buttons_name_the_watch_and_the_message_and_ask_before_they_count(world: World) -> None:
    await clicking(world).deliver(delivery(WITH_BUTTONS))
    (root,) = world.collected.slack.messages()
    (actions,) = [block for block in root["blocks"] if block["type"] == "actions"]
    assert [button["action_id"] for button in actions["elements"]] == [
        "watchdog_ack",
        "watchdog_rollback",
        "watchdog_hold",
    ]
    assert {button["value"] for button in actions["elements"]} == {"w7k2|w7k2:1:decision"}
    assert all(button["confirm"]["confirm"]["text"] for button in actions["elements"])
    assert_golden("slack_buttons", actions)


async def test_without_a_signing_secret_there_are_no_buttons(world: World) -> None:
    await world.slack().deliver(delivery(WITH_BUTTONS))
    assert not [b for m in world.collected.slack.messages() for b in m["blocks"] if b["type"] == "actions"]


async def test_buttons_go_when_it_is_over(world: World) -> None:
    slack = clicking(world)
    first = await slack.deliver(delivery(WITH_BUTTONS))
    await slack.deliver(delivery(ROLLED_BACK, remembered=first.remember))
    root = world.collected.slack.messages()[0]
    assert not [block for block in root["blocks"] if block["type"] == "actions"]


async def test_the_root_message_has_the_criteria_as_they_are_now(world: World) -> None:
    slack = world.slack()
    first = await slack.deliver(delivery({**OPENED, "criteria": [[label, "PASS"] for label, _ in CRITERIA]}))
    await slack.deliver(delivery({**DECISION, "criteria": CRITERIA}, remembered=first.remember))
    root = world.collected.slack.messages()[0]
    (table,) = [b["text"]["text"] for b in root["blocks"] if "Criteria" in b.get("text", {}).get("text", "")]
    assert table.split("\n")[1:] == ["❌ health_check failing", "➖ p95_latency &lt; 500ms", "✅ error_rate &lt; 1%"]


async def test_whom_the_ladder_names_is_mentioned(world: World) -> None:
    body = {**DECISION, "kind": "escalation", "to": {"email": [], "slack": ["U012AB3CD", "S0GROUP1"]}}
    await world.slack().deliver(delivery(body))
    slack = world.slack()
    first = await slack.deliver(delivery(OPENED))
    await slack.deliver(delivery(body, remembered=first.remember))
    reply = world.collected.slack.messages()[-1]
    assert "<@U012AB3CD> <!subteam^S0GROUP1>" in json.dumps(reply["blocks"])
    assert reply["text"].startswith("<@U012AB3CD>")


@pytest.mark.parametrize(
    "kind, severity, posted", [("window", "info", 0), ("window", "warning", 1), ("passed", "info", 1)]
)
async def test_a_webhook_which_cannot_update_gets_fewer_messages(
    world: World, kind: str, severity: str, posted: int
) -> None:
    await world.webhook().deliver(delivery({**OPENED, "kind": kind, "severity": severity}))
    assert len(world.collected.slack.messages()) == posted


async def test_a_click_is_answered_to_whoever_clicked_and_only_at_slack(world: World) -> None:
    async with recording(Answer(body="ok")) as (server, session):
        whisperer = Whisperer(session, api_url=f"{server.url}/api/")
        await whisperer.whisper(f"{server.url}/actions/T0/1/abc", "Acknowledged.")
        (seen,) = server.seen
        assert seen.json == {"response_type": "ephemeral", "replace_original": False, "text": "Acknowledged."}
        with pytest.raises(PermanentError, match="is not Slack's"):
            await whisperer.whisper("http://169.254.169.254/x", "no")
        with pytest.raises(PermanentError, match="is not Slack's"):
            await Whisperer(session, api_url="https://slack.com/api/").whisper(f"{server.url}/x", "no")
        assert len(server.seen) == 1


async def test_regions_of_a_release_share_a_thread_and_the_root_shows_each(world: World) -> None:
    slack = clicking(world)
    east = {"region": "us-east1", "watch": "w-east", "status": "api in us-east1: watching"}
    await play(slack, OPENED, {**OPENED, **east}, {**WITH_BUTTONS, **east, "status": "api in us-east1: held"})
    root, joined, held = world.collected.slack.messages()
    assert joined["thread_ts"] == held["thread_ts"] == root["ts"]
    texts = [b.get("text", {}).get("text", "") for b in root["blocks"]]
    (now,) = [text for text in texts if text.startswith("*Now:*")]
    assert now.split("\n")[1:] == [OPENED["status"], "api in us-east1: held"]
    assert any("(us-east1)" in text for text in texts if text.startswith("*What you must do"))
    assert [b["type"] for b in root["blocks"]].count("actions") == 0, "which region would they act on?"
    assert [b["type"] for b in held["blocks"]].count("actions") == 1
