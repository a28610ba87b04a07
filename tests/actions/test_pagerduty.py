"""One incident a watch under our own key; it is resolved wherever it was opened, and nothing else pages."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.actions.conftest import KEYS, World
from tests.actions.messages import BASE, DECISION, DEDUP_KEY, OPENED, ROLLED_BACK, assert_golden, delivery
from watchdog.actions.pagerduty import PagerDutyNotifier, change_event, incident_event
from watchdog.actions.render import Message
from watchdog.emulator.collector_behaviour import Behaviour
from watchdog.errors import PermanentError, TemporaryError
from watchdog.ports import Notifier
from watchdog.settings import PagerDutySettings


def acted(body: dict[str, Any], action: str, *, level: int = 1) -> dict[str, Any]:
    return body | {"incident": {"action": action, "dedup_key": f"{DEDUP_KEY[:-1]}{level}"}}


async def play(pagerduty: Notifier, *bodies: Mapping[str, Any]) -> dict[str, str]:
    remembered: dict[str, str] = {}
    for body in bodies:
        receipt = await pagerduty.deliver(delivery(body, channel="pagerduty", remembered=remembered))
        remembered.update(receipt.remember)
    return remembered


class TestIncident:
    async def test_it_is_opened_followed_up_and_resolved_as_one(self, world: World) -> None:
        await play(world.pagerduty(), DECISION, DECISION, acted(DECISION, "acknowledge"), ROLLED_BACK)

        [incident] = world.collected.pagerduty.incidents()
        assert incident["dedup_key"] == DEDUP_KEY
        assert incident["routing_key"] == KEYS[1]
        assert incident["status"] == "resolved"
        assert [event["event_action"] for event in incident["log"]] == ["trigger", "trigger", "acknowledge", "resolve"]

    async def test_each_level_pages_by_its_own_key_and_a_resolve_goes_to_all_of_them(self, world: World) -> None:
        """A key counts only under the routing key it was triggered on."""
        await play(world.pagerduty(), DECISION, acted(DECISION, "trigger", level=2), ROLLED_BACK)

        incidents = world.collected.pagerduty.incidents()
        assert {(i["routing_key"], i["dedup_key"][-2:], i["status"]) for i in incidents} == {
            (KEYS[1], "/1", "resolved"),
            (KEYS[2], "/2", "resolved"),
        }

    async def test_a_level_without_a_key_of_its_own_pages_by_the_first(self, world: World) -> None:
        await play(world.pagerduty(), acted(DECISION, "trigger", level=3))

        [incident] = world.collected.pagerduty.incidents()
        assert (incident["routing_key"], incident["dedup_key"][-2:]) == (KEYS[1], "/3")

    async def test_a_retry_is_the_same_event(self, world: World) -> None:
        world.collected.behave("pagerduty", Behaviour(kind="lost_answer", calls=1))
        pagerduty = world.pagerduty()

        with pytest.raises(TemporaryError):
            await play(pagerduty, DECISION)
        await play(pagerduty, DECISION)

        first, second = (entry.body for entry in world.collected.received("pagerduty"))
        assert first == second
        assert len(world.collected.pagerduty.incidents()) == 1

    async def test_the_real_payloads(self, world: World) -> None:
        await play(world.pagerduty(), OPENED, DECISION, ROLLED_BACK)

        opened, decision, resolve, change = (entry.body for entry in world.collected.received("pagerduty"))
        assert_golden("pagerduty_opened_change", opened)
        assert_golden("pagerduty_decision_trigger", decision)
        assert_golden("pagerduty_rolled_back_resolve", resolve)
        assert_golden("pagerduty_rolled_back_change", change)
        assert all(entry.accepted for entry in world.collected.received("pagerduty"))

    async def test_a_message_for_no_incident_that_names_an_action_is_refused(self, world: World) -> None:
        for incident in ({"action": "trigger"}, {"action": "snooze", "dedup_key": "x"}):
            with pytest.raises(PermanentError):
                await play(world.pagerduty(), DECISION | {"incident": incident})


class TestChangeEvents:
    async def test_a_message_without_an_incident_pages_nobody(self, world: World) -> None:
        await play(world.pagerduty(), OPENED, BASE | {"kind": "note", "title": "t"}, {"kind": "test"})

        assert world.collected.pagerduty.incidents() == []
        assert len(world.collected.pagerduty.changes()) == 4, "a test tries the key of every level"

    async def test_a_lost_change_event_never_costs_or_repeats_the_page(self, world: World) -> None:
        world.collected.behave("pagerduty", Behaviour(kind="status", path="/change/"))

        with capture_logs() as logs:
            await play(world.pagerduty(), DECISION, ROLLED_BACK)

        assert world.collected.pagerduty.incidents()[0]["status"] == "resolved"
        assert [entry["event"] for entry in logs] == ["pagerduty_change_event_lost"]

    async def test_alone_it_is_retried_like_anything_else(self, world: World) -> None:
        world.collected.behave("pagerduty", Behaviour(kind="rate_limited", retry_after_s=9))

        with pytest.raises(TemporaryError) as caught:
            await play(world.pagerduty(), OPENED)

        assert caught.value.delay_s == 9.0


class TestRefusals:
    async def test_a_wrong_key_is_permanent_and_says_which_setting(self, world: World) -> None:
        world.collected.pagerduty.unknown_routing_keys.add(KEYS[1])

        with pytest.raises(PermanentError, match="WATCHDOG_PAGERDUTY__ROUTING_KEY") as caught:
            await play(world.pagerduty(), DECISION)

        assert KEYS[1] not in str(caught.value)

    @pytest.mark.parametrize("status", [429, 500, 502, 503])
    async def test_what_may_pass_is_temporary(self, world: World, status: int) -> None:
        world.collected.behave("pagerduty", Behaviour(kind="status", status=status))

        with pytest.raises(TemporaryError):
            await play(world.pagerduty(), DECISION)

    async def test_without_a_routing_key_there_is_no_channel(self, world: World) -> None:
        assert PagerDutyNotifier.from_settings(world.session, PagerDutySettings()) is None


class TestLimits:
    async def test_details_go_first_when_an_event_is_too_large(self, world: World) -> None:
        huge = DECISION | {"evidence": [["row", "ü" * 1000]] * 1000, "happened": "h" * 5000}
        larger = huge | {"did": "d" * 600_000}
        largest = larger | {"links": [{"href": f"https://e.com/{'x' * 1000}", "text": "t"}] * 1000}

        for body in (huge, larger, largest):
            await play(world.pagerduty(), body)

        assert all(entry.accepted for entry in world.collected.received("pagerduty"))
        first, second, third = (entry.body for entry in world.collected.received("pagerduty"))
        assert "Evidence" not in first["payload"]["custom_details"]
        assert "What we did" in first["payload"]["custom_details"]
        assert list(second["payload"]["custom_details"]) == ["Left out"]
        assert "links" in second
        assert "links" not in third
        assert len(third["payload"]["summary"]) == 1024

    def test_a_key_too_long_stays_unique(self) -> None:
        message = Message.of(DECISION)
        keys = {incident_event(message, "k", "x" * 300 + tail)["dedup_key"] for tail in ("a", "b")}

        assert len(keys) == 2
        assert all(len(key) <= 255 for key in keys)

    @pytest.mark.parametrize("severity,expected", [("info", "info"), ("critical", "critical"), ("fatal", "error")])
    def test_a_severity_that_pagerduty_does_not_know_is_an_error(self, severity: str, expected: str) -> None:
        event = incident_event(Message.of(DECISION | {"severity": severity}), "k", "d")

        assert event["payload"]["severity"] == expected

    def test_a_summary_is_never_blank(self) -> None:
        bodies: list[dict[str, Any]] = [{}, {"title": "", "happened": ""}]
        for body in bodies:
            assert change_event(Message.of(body), "k")["payload"]["summary"].strip()
            assert json.dumps(incident_event(Message.of(body | {"incident": {"action": "trigger"}}), "k", "d"))
