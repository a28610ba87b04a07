"""A policy is a value: it goes through the journal unchanged, and two files that mean the same have the same hash."""

import json

import pytest
import yaml
from pydantic import ValidationError

from tests.core.policies import DESIGN_EXAMPLE, build
from watchdog.core.model import Window
from watchdog.core.policy import Policy
from watchdog.core.policy_build import build_policy
from watchdog.core.policy_text import describe, describe_json
from watchdog.errors import ConfigError


def example() -> Policy:
    built = build_policy(yaml.safe_load(DESIGN_EXAMPLE))
    assert built.policy is not None, built.problems
    return built.policy


def test_the_designs_own_example_loads() -> None:
    policy = example()

    assert policy.service.url == "https://api.barqfleet.com"
    assert list(policy.probes) == ["health", "ready", "live"]
    assert [r.id for r in policy.rows] == [
        "success.error_rate",
        "success.p95_latency",
        "success.health_check",
        "window.short_term.error_rate",
        "window.short_term.p50_latency",
        "alert.error_rate.warning",
        "alert.error_rate.critical",
        "alert.cpu_usage.warning",
        "alert.cpu_usage.critical",
        "immediate.error_rate",
        "immediate.health_check",
    ]
    assert policy.signals == {"critical_functionality_broken", "database_corruption", "security_vulnerability"}


def test_a_policy_survives_the_journal() -> None:
    policy = example()

    again = Policy.from_canonical(json.loads(json.dumps(policy.canonical(), sort_keys=True)))

    assert again == policy
    assert again.canonical() == policy.canonical()
    assert again.hash == policy.hash


def test_the_hash_changes_with_the_meaning_and_not_with_the_writing() -> None:
    written = [build(rollback={"cooldown": text, "trial": trial}) for text, trial in (("10m", "20%"), ("600s", "20 %"))]
    other = build(rollback={"cooldown": "11m"})

    hashes = [b.policy.hash for b in (*written, other) if b.policy]
    assert hashes[0] == hashes[1]
    assert hashes[2] != hashes[0]
    assert len(hashes[0]) == 16


def test_a_recorded_policy_that_cannot_be_read_says_where() -> None:
    values = {**example().canonical(), "from_the_future": 1}

    with pytest.raises(ConfigError, match="from_the_future"):
        Policy.from_canonical(values)


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        example().coverage_floor = 0.5  # type: ignore[misc]


def test_what_check_prints_says_what_each_row_really_asks() -> None:
    text = describe(example(), ["config/x.yaml:1: something to know"])

    for part in (
        "barq-fleet-api in us-central1 of project barq-fleet, https://api.barqfleet.com",
        "more than 1% of requests fail",
        "more than 5% of requests slower than 500ms",
        "more than 2% of probes fail",
        "more than 50% of requests slower than 1.5 times before the deploy",
        "4 of the last 5 points above 90%",
        "alpha 0.1667%",
        "5 (immediate), 10 (short_term), 20 (extended)",
        "signal database_corruption",
        "20% of traffic first",
        "config/x.yaml:1: something to know",
    ):
        assert part in text


def test_what_check_prints_says_what_is_special_about_a_policy() -> None:
    built = build(
        windows={"immediate": {"until": "15m", "probe_every": "5s"}},
        probes={
            "health": {"path": "/", "startup": "10s"},
            "deep": {"path": "/deep", "critical": False, "auth": "id_token", "headers": {"X-A": "b"}},
        },
        window_criteria={"immediate": [{"metric": "error_rate", "target": "< 2x before", "action": "rollback"}]},
        rollback={
            "mode": "approve",
            "trial": "off",
            "immediately_if": [{"signal": "fire", "note": "The house burns"}],
        },
        control_url="https://www.example.com",
    )
    assert built.policy is not None

    text = describe(built.policy)

    for part in (
        "timeouts count after 10s",
        "not critical; ID token for the service; headers X-A",
        "2 times more requests fail than before the deploy",
        "asks a person before it rolls back",
        "within 15m",
        "all traffic at once",
        '"The house burns"',
        "https://www.example.com",
    ):
        assert part in text


def test_what_check_prints_as_json_has_every_row_and_no_header_value() -> None:
    built = build(probes={"health": {"path": "/health", "headers": {"X-Key": "hush"}}})
    assert built.policy is not None

    shown = describe_json(built.policy)
    rows = {row["id"]: row for row in describe_json(example())["rows"]}

    assert "hush" not in json.dumps(shown)
    assert "hush" not in describe(built.policy)
    assert shown["probes"]["health"]["headers"] == ["X-Key"]
    assert rows["success.p95_latency"]["p0"] == 0.05
    assert rows["success.p95_latency"]["value"] == 0.5
    assert rows["window.short_term.p50_latency"]["windows"] == [Window.SHORT_TERM]
    assert rows["immediate.health_check"]["condition"] == "failing"
