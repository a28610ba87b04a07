"""The sections that say who is told: every mistake is found at load."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.core.policies import build
from watchdog.core.paging import Silence, silenced
from watchdog.core.policy import Policy

LADDER = [{"name": "On-call", "after": "0s", "email": "a@b.example"}, {"name": "Lead", "after": "15m"}]


def policy_of(**changes: Any) -> Policy:
    built = build(**changes)
    assert built.policy is not None, built.problems
    return built.policy


def test_the_checklists_ladder_is_the_default() -> None:
    escalation = policy_of().escalation
    assert escalation.by == "pagerduty"
    assert [(r.name, r.after_s, r.only_critical) for r in escalation.ladder] == [
        ("On-call engineer", 0, False),
        ("Team lead", 900, False),
        ("Engineering manager", 1800, False),
        ("CTO", 3600, True),
    ]


def test_a_ladder_of_ones_own() -> None:
    policy = policy_of(escalation={"by": "watchdog", "ladder": LADDER, "remind_every": "2h"})
    assert [r.email for r in policy.escalation.ladder] == [("a@b.example",), ()]
    assert policy.escalation.remind_every_s == 7200
    assert type(policy).from_canonical(policy.canonical()) == policy


@pytest.mark.parametrize(
    "section, value, said",
    [
        ("escalation", {"by": "nobody"}, "not one of pagerduty, watchdog"),
        ("escalation", {"ladder": []}, "has no level"),
        ("escalation", {"ladder": [{"name": "A", "after": "5m"}]}, "the first level is paged at once"),
        ("escalation", {"ladder": [*LADDER, {"name": "C", "after": "10m"}]}, "comes no later than the level before it"),
        ("escalation", {"ladder": [*LADDER, {"name": "C"}]}, "after: 15m"),
        ("escalation", {"ladder": [*LADDER, {"name": "C", "after": "1h", "email": "nobody"}]}, "not an email address"),
        ("escalation", {"ladder": [*LADDER, {"name": "C", "after": "1h", "slack": "@ada"}]}, "not a Slack id"),
        ("escalation", {"ladder": [{"name": "A", "after": f"{i}m"} for i in range(5)]}, "there can be 4"),
        ("channels", {"slak": {"send": "all"}}, 'did you mean "slack"'),
        ("channels", {"pagerduty": {"send": "all"}}, "PagerDuty wakes people"),
        ("channels", {"email": {"roles": {"U012AB3CD": "operator"}}}, "only Slack has buttons"),
        ("channels", {"slack": {"roles": {"ada": "operator"}}}, "is no Slack member id"),
        ("channels", {"slack": {"roles": {"U012AB3CD": "boss"}}}, "not one of responder, operator"),
        ("silences", [{"until": "2026-12-01", "by": "Ada", "reason": "x"}], "it would silence everything"),
        ("silences", [{"kind": "warning", "until": "soon", "by": "Ada", "reason": "x"}], "is not a time"),
        ("silences", [{"kind": "warning", "until": "2026-12-01", "by": "Ada"}], "reason: load test"),
    ],
)
def test_a_mistake_is_said(section: str, value: Any, said: str) -> None:
    found = [p.message for p in build(**{section: value}).problems]
    assert any(said in message for message in found), found


def test_a_ladder_that_nobody_climbs_is_warned_of() -> None:
    built = build(escalation={"by": "pagerduty", "ladder": LADDER})
    assert any("leaves it to PagerDuty" in w.message for w in built.warnings)


def test_silences_mute_what_they_name_until_their_end_and_never_what_moved_traffic() -> None:
    (silence,) = policy_of(
        silences=[{"criterion": "p95*", "until": "2026-12-01T06:00:00Z", "by": "Ada", "reason": "load test"}]
    ).silences
    until = datetime(2026, 12, 1, 6, tzinfo=UTC).timestamp()
    assert silence.until == until
    warning = {"kind": "warning", "criterion": "p95_latency < 500ms", "severity": "warning", "incident": None}
    assert silenced(warning, (silence,), until - 1) is silence
    assert silenced(warning, (silence,), until) is None
    assert silenced({**warning, "criterion": "error_rate"}, (silence,), until - 1) is None
    everything = (Silence(until=until, by="Ada", reason="x"),)
    assert silenced({**warning, "kind": "rollback_failed"}, everything, 0.0) is None
    assert silenced({**warning, "incident": {"action": "resolve"}}, everything, 0.0) is None
    assert silenced({**warning, "kind": "opened", "incident": {"action": "trigger"}}, everything, 0.0) is None
