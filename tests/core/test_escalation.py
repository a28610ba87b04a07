"""The ladder: who is paged when nobody acknowledges, in the fold's own time."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.drive import DOWN, T0, TEXT, Drive, opening
from watchdog.core import escalation
from watchdog.core.commands import Notify
from watchdog.core.events import Resumed
from watchdog.core.paging import Channel
from watchdog.core.policy import Policy
from watchdog.core.report import view
from watchdog.core.watch import replay
from watchdog.policy_file import parse_policy

LADDER = """
escalation:
  by: watchdog
  remind_every: 1h
  repeat_every: 30m
  ladder:
    - {name: On-call engineer, after: 0s, email: devops@barq.example}
    - {name: Team lead, after: 15m, email: [backend@barq.example], slack: U012AB3CD}
    - {name: Engineering manager, after: 30m}
    - {name: CTO, after: 60m, only: critical}
"""


def policy(extra: str = LADDER, mode: str = "observe") -> Policy:
    return parse_policy(TEXT.format(mode=mode) + extra, Path("policy.yaml")).policy


def paged(extra: str = LADDER, **changes: Any) -> Drive:
    """A hard-down release whose rollback is only observed: the incident waits for a person from 55 s on."""
    p = policy(extra)
    drive = Drive(opening(policy=p.canonical(), policy_hash=p.hash, **changes))
    drive.healthy(0, 50)
    drive.hard_down(50)
    drive.written(55, "observed", reason="would have")
    return drive


def escalations(drive: Drive) -> list[tuple[int, float, str]]:
    """Level, minutes after the incident, dedup key's end."""
    opened = drive.watch.incident.opened_at if drive.watch.incident else 0.0
    return [
        (m["level"], (m["at"] - opened) / 60, m["incident"]["dedup_key"].rpartition("/")[2])
        for m in drive.messages("escalation")
    ]


def failing(drive: Drive, from_s: float, to_s: float) -> None:
    """It stays down, probed at leisure."""
    at = from_s
    while at < to_s:
        drive.probe(DOWN, at)
        at += 60.0


def test_each_level_is_paged_at_its_time_under_its_own_key() -> None:
    drive = paged()
    failing(drive, 60, 55 + 3700)
    found = escalations(drive)
    assert [(level, round(after), key) for level, after, key in found] == [(2, 15, "2"), (3, 30, "3"), (4, 60, "4")]
    second = drive.messages("escalation")[0]
    assert second["to"] == {"email": ["devops@barq.example", "backend@barq.example"], "slack": ["U012AB3CD"]}
    assert second["title"].startswith("Escalated to Team lead: ")
    assert "Nobody has acknowledged this for 15 min" in second["happened"]
    assert second["evidence"], "whoever is woken later gets the proof too"
    assert view(drive.watch)["incident"]["level"] == 4


def test_an_acknowledgement_stops_the_ladder_and_begins_reminders() -> None:
    drive = paged()
    drive.operate("ack", 600)
    failing(drive, 660, 600 + 7300)
    assert escalations(drive) == []
    reminders = drive.messages("reminder")
    assert [round((m["at"] - T0 - 600) / 60) for m in reminders] == [60, 120]
    assert "ada acknowledged this" in reminders[0]["happened"]
    drive.operate("resolve", 8000)
    failing(drive, 8010, 8000 + 7300)
    assert len(drive.messages("reminder")) == 2, "what is resolved is not brought to mind"


def test_after_an_absence_only_the_highest_overdue_level_is_paged() -> None:
    drive = paged()
    drive.put(Resumed(at=T0 + 55 + 2400, down_since=T0 + 60))
    assert [(level, round(after)) for level, after, _ in escalations(drive)] == [(3, 40)]
    assert "Team lead should have been paged" in drive.messages("escalation")[0]["did"]


def test_a_replayed_journal_pages_the_same_people() -> None:
    drive = paged()
    failing(drive, 60, 2000)
    drive.put(Resumed(at=T0 + 9000, down_since=T0 + 2000))
    watch, commands = replay(drive.events)
    assert watch is not None
    assert [c.key for c in commands if isinstance(c, Notify)] == [
        c.key for c in drive.commands if isinstance(c, Notify)
    ]
    assert watch.incident == drive.watch.incident


def test_the_last_level_is_paged_again_until_somebody_acknowledges() -> None:
    drive = paged()
    failing(drive, 60, 55 + 60 * 60 + 13 * 1800)
    again = [after for level, after, _ in escalations(drive) if level == 4]
    assert len(again) == 10, "the first, and nine more: PagerDuty's own limit"
    assert round(again[1] - again[0]) == 30


def test_an_incident_that_is_not_critical_leaves_the_cto_asleep() -> None:
    p = policy()
    drive = Drive(opening(policy=p.canonical(), policy_hash=p.hash, known_bad=True))
    drive.healthy(0, 5000, every=60)
    assert drive.watch.incident is not None
    assert drive.watch.incident.severity == "error"
    assert {level for level, _, _ in escalations(drive)} == {2, 3}


def test_an_acknowledgement_given_back_goes_on_from_the_level_that_was_paged() -> None:
    drive = paged()
    failing(drive, 60, 1000)
    drive.operate("ack", 1000)
    drive.operate("unack", 4000)
    failing(drive, 4060, 4000 + 1000)
    assert [(level, round(after * 60 + 54)) for level, after, _ in escalations(drive)][-1][0] == 3
    at = drive.messages("escalation")[-1]["at"] - T0
    assert at == pytest.approx(4000 + 900, abs=1.0), "level 3 has its fifteen minutes"


def test_pagerduty_climbs_its_own_ladder_by_default() -> None:
    drive = paged("")
    failing(drive, 60, 8000)
    assert drive.messages("escalation") == []


def test_a_ladder_that_is_changed_in_the_file_does_not_change_an_open_incident() -> None:
    """The copy is in the watch: the journal carries the policy it was opened with."""
    drive = paged()
    assert drive.watch.incident is not None
    assert [rung.name for rung in drive.watch.incident.ladder][:2] == ["On-call engineer", "Team lead"]


def test_when_the_service_is_well_again_the_ladder_stops() -> None:
    drive = paged()
    drive.healthy(60, 500)
    drive.healthy(500, 3000, every=60)
    assert escalations(drive) == []


@pytest.mark.parametrize(
    "channel, send, kinds",
    [
        ("slack", None, {"opened", "window", "decision", "warning", "passed"}),
        ("email", None, {"decision", "warning", "passed"}),
        ("email", "incidents", {"decision"}),
        ("slack", "off", set()),
        ("pagerduty", None, {"opened", "decision"}),
        ("pagerduty", "off", set()),
    ],
)
def test_a_channel_gets_what_the_policy_says(channel: str, send: Any, kinds: set[str]) -> None:
    trigger = {"action": "trigger", "dedup_key": "k"}
    told: dict[str, dict[str, Any]] = {
        "opened": {"severity": "info", "change": True},
        "window": {"severity": "info"},
        "decision": {"severity": "critical", "incident": trigger, "broadcast": True},
        "warning": {"severity": "warning"},
        "passed": {"severity": "info"},
    }
    chosen = {channel: Channel(send=send)} if send else {}
    got = {k for k, body in told.items() if escalation.concerns(channel, {"kind": k, **body}, chosen)}
    assert got == kinds


def test_a_word_that_comes_late_does_not_overrule_a_newer_one() -> None:
    """PagerDuty's webhooks overtake each other: acknowledged, then given back, arrive the other way round."""
    drive = paged()
    drive.operate("unack", 700, said_at=T0 + 690)
    drive.operate("ack", 701, said_at=T0 + 600)
    assert drive.watch.incident is not None
    assert drive.watch.incident.acknowledged_at is None
    drive.operate("ack", 800, said_at=T0 + 799)
    assert drive.watch.incident.acknowledged_by == "ada"
    drive.operate("assign", 810, said_at=T0 + 809, name="Grace")
    assert drive.messages("note")[-1]["happened"].startswith("ada passed it on to Grace")


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["ack", "unack", "resolve", "down", "away"]), st.floats(1.0, 5000.0)), max_size=12
    )
)
@settings(max_examples=60, deadline=None)
def test_whatever_people_do_nobody_is_paged_early_twice_or_after_they_said_they_have_it(
    steps: list[tuple[str, float]],
) -> None:
    drive = paged()
    at, acked, seen, top = 60.0, False, 0, 1
    for what, wait in steps:
        before = drive.watch.incident
        at += wait
        if what == "away":
            drive.put(Resumed(at=T0 + at, down_since=drive.watch.at))
        elif what == "down":
            drive.probe(DOWN, at)
        else:
            drive.operate(what, at)
        new = drive.messages("escalation")[seen:]
        seen += len(new)
        assert not (acked and new), "they have it"
        assert before is not None
        for page in new:
            assert page["level"] >= top, "never down the ladder"
            assert page["at"] >= before.climbs_from + before.ladder[page["level"] - 1].after_s, "never early"
            top = page["level"]
        if what == "away":
            assert len(new) <= 1, "only the highest that is overdue"
        incident = drive.watch.incident
        assert incident is not None
        acked = incident.acknowledged_at is not None or not incident.open
    levels = [page["level"] for page in drive.messages("escalation")]
    assert all(levels.count(level) == 1 for level in levels if level < 4)
