"""Sections of a policy file: defaults that the design promises, every mistake found, none dragging others behind it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.policies import MINIMAL, build, problems
from watchdog.core.model import ServiceKey, Window
from watchdog.core.policy import ConfirmConfig, Policy
from watchdog.core.policy_build import build_policy


def policy_of(**changes: Any) -> Policy:
    built = build(**changes)
    assert built.policy is not None, built.problems
    return built.policy


SERVICE = MINIMAL["service"]
IMMEDIATE = {"until": "15m", "probe_every": "5s"}


# --- what is understood -------------------------------------------------------------------------------------------


def test_a_minimal_policy_has_the_designs_windows_and_bounds() -> None:
    policy = policy_of()

    assert [(w.window, w.start_s, w.until_s, w.probe_every_s, w.confirm.failures) for w in policy.windows] == [
        (Window.IMMEDIATE, 0, 900, 5, 5),
        (Window.SHORT_TERM, 900, 3600, 15, 10),
        (Window.EXTENDED, 3600, 86_400, 60, 20),
    ]
    assert policy.watch_s == 86_400
    assert (policy.coverage_floor, policy.cold_start.errors_s, policy.cold_start.latency_s) == (0.8, 30, 120)
    assert policy.shared_cause == {
        Window.IMMEDIATE: "ask_then_rollback",
        Window.SHORT_TERM: "ask",
        Window.EXTENDED: "hold",
    }
    rollback = policy.rollback
    assert (rollback.mode, rollback.trial, rollback.per_day, rollback.cooldown_s) == ("automatic", 0.2, 3, 600)
    assert (rollback.verify_for_s, rollback.approve_within_s) == (600, 900)


def test_the_window_of_a_moment_is_the_one_it_falls_into() -> None:
    policy = policy_of()

    windows = {at: policy.window_at(at) for at in (-1, 0, 899.9, 900, 86_399, 86_400)}
    assert {at: w.window if w else None for at, w in windows.items()} == {
        -1: None,
        0: Window.IMMEDIATE,
        899.9: Window.IMMEDIATE,
        900: Window.SHORT_TERM,
        86_399: Window.EXTENDED,
        86_400: None,
    }


def test_a_window_overrides_only_what_it_says_of_confirm() -> None:
    policy = policy_of(
        confirm={"failures": 3, "every": "2s"},
        windows={
            "immediate": IMMEDIATE,
            "short_term": {"until": "1h", "probe_every": "15s", "confirm": {"failures": 9}},
        },
    )

    assert [w.confirm for w in policy.windows] == [
        ConfirmConfig(failures=3, every_s=2),
        ConfirmConfig(failures=9, every_s=2),
    ]
    assert policy.watch_s == 3600


def test_one_release_can_be_watched_in_several_regions() -> None:
    policy = policy_of(service={"project": "p", "regions": ["us-central1", "europe-west1"], "name": "api"})

    assert policy.service.keys == (
        ServiceKey(project="p", region="us-central1", name="api"),
        ServiceKey(project="p", region="europe-west1", name="api"),
    )


def test_a_probe_says_what_it_expects() -> None:
    policy = policy_of(
        probes={
            "health": {
                "url": "https://api.example.com/health?full=1",
                "headers": {"X-Probe": "1"},
                "auth": "id_token",
                "audience": "https://api.example.com",
                "expect": {"status": [200, 204], "json": {"status": "healthy", "checks": [{"db": None}]}},
                "timeout": "2s",
                "critical": False,
                "startup": "10s",
            }
        }
    )

    probe = policy.probes["health"]
    assert probe.expect.status == (200, 204)
    assert probe.expect.json_subset == {"status": "healthy", "checks": [{"db": None}]}
    assert (probe.auth, probe.timeout_s, probe.critical, probe.startup_s) == ("id_token", 2, False, 10)


def test_a_probe_without_timeout_never_outlasts_its_interval() -> None:
    quick = {"immediate": {"until": "15m", "probe_every": "1s"}}

    assert policy_of(windows=quick).probes["health"].timeout_s == 1
    assert policy_of().probes["health"].timeout_s == 3


@pytest.mark.parametrize("off", ["off", "Off", False])
def test_off_is_taken_also_where_yaml_reads_it_as_false(off: object) -> None:
    assert policy_of(rollback={"trial": off}).rollback.trial is None


def test_words_that_were_reserved_once_are_used() -> None:
    policy = policy_of(
        coverage_floor="90%",
        cold_start={"errors": "10s"},
        control_url="https://www.example.com/",
        shared_cause={"extended": "ask"},
        rollback={"verify_for": "5m", "approve_within": "1h"},
    )

    assert (policy.coverage_floor, policy.cold_start.errors_s, policy.cold_start.latency_s) == (0.9, 10, 120)
    assert policy.control_url == "https://www.example.com/"
    assert policy.shared_cause[Window.EXTENDED] == "ask"
    assert policy.shared_cause[Window.IMMEDIATE] == "ask_then_rollback"
    assert (policy.rollback.verify_for_s, policy.rollback.approve_within_s) == (300, 3600)


def test_a_header_that_holds_a_secret_is_warned_about() -> None:
    built = build(probes={"health": {"path": "/health", "headers": {"Authorization": "Bearer x"}}})

    assert [f.path for f in built.warnings if "journal" in f.message] == [
        ("probes", "health", "headers", "Authorization")
    ]


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, path, said",
    [
        ({"version": None}, "version", "is missing"),
        ({"version": 2}, "version", "it reads version: 1"),
        ({"version": "1"}, "version", "write version: 1"),
        ({"version": True}, "version", "write version: 1"),
        ({"version": {"path": "/version"}}, "version", "write version: 1"),
        ({"service": None}, "service", "is missing"),
        ({"service": []}, "service", "stands where a mapping belongs"),
        ({"service": {**SERVICE, "project": 7}}, "service.project", "put it in quotes"),
        ({"service": {**SERVICE, "project": None}}, "service.project", "is missing"),
        ({"service": {**SERVICE, "name": "Api"}}, "service.name", "not the name of a Cloud Run service"),
        ({"service": {**SERVICE, "regions": ["a"]}}, "service.regions", "beside region"),
        ({"service": {"project": "p", "name": "api"}}, "service.region", "is missing"),
        ({"service": {"project": "p", "name": "api", "regions": ["a", "a"]}}, "service.regions", "twice"),
        ({"service": {"project": "p", "name": "api", "regions": [1]}}, "service.regions.0", "put it in quotes"),
        ({"service": {**SERVICE, "url": "ftp://x"}}, "service.url", "not an address"),
        ({"service": {**SERVICE, "url": "https://x/?a=1"}}, "service.url", "before the query"),
        ({"service": {**SERVICE, "url": "https://u:p@x/"}}, "service.url", "must not hold a user name"),
        ({"service": {**SERVICE, "url": "https://[x/"}}, "service.url", "not an address"),
        ({"service": {**SERVICE, "url": "https://x:99999/"}}, "service.url", "not an address"),
        ({"service": {**SERVICE, "discover_every": 10}}, "service.discover_every", 'did you mean "10s"'),
        ({"service": {**SERVICE, "discover_every": "0s"}}, "service.discover_every", "out of range"),
        ({"servcie": {}}, "servcie", 'did you mean "service"'),
        ({"windows": {}}, "windows.immediate", "is missing"),
        ({"windows": []}, "windows", "stands where a mapping belongs"),
        ({"windows": {"immediate": {"until": "15m"}}}, "windows.immediate.probe_every", "is missing"),
        (
            {"windows": {"immediate": {**IMMEDIATE, "probe_every": "1h"}}},
            "windows.immediate.probe_every",
            "longer than",
        ),
        ({"windows": {"immediate": {**IMMEDIATE, "until": "31d"}}}, "windows.immediate.until", "out of range"),
        ({"windows": {"immediate": IMMEDIATE, "medium": {}}}, "windows.medium", "unknown window"),
        ({"windows": {"immediate": IMMEDIATE, "extended": IMMEDIATE}}, "windows.extended.until", "empty"),
        (
            {"windows": {"immediate": IMMEDIATE, "short_term": {**IMMEDIATE, "until": "10m"}}},
            "windows.short_term.until",
            "overlap",
        ),
        ({"confirm": {"failures": 0}}, "confirm.failures", "between 1 and 1000"),
        ({"confirm": {"failures": 10**30}}, "confirm.failures", "between 1 and 1000"),
        ({"confirm": {"failures": True}}, "confirm.failures", "not a whole number"),
        ({"confirm": {"failures": 2.5}}, "confirm.failures", "not a whole number"),
        ({"confirm": {"every": "-1s"}}, "confirm.every", "negative"),
        ({"probes": {"health": {}}}, "probes.health", "neither path nor url"),
        ({"probes": {"health": None}}, "probes.health", "stands where a mapping belongs"),
        ({"probes": {"health": {"path": "/", "url": "https://x/"}}}, "probes.health.url", "keep one"),
        ({"probes": {"health": {"path": "health"}}}, "probes.health.path", "begins with /"),
        ({"probes": {"health": {"path": "/a b"}}}, "probes.health.path", "neither spaces"),
        ({"probes": {"Health Check": {"path": "/"}}}, "probes.Health Check", "no name for a probe"),
        ({"probes": {"health": {"path": "/", "timeout": "6s"}}}, "probes.health.timeout", "window immediate, 5s"),
        ({"probes": {"health": {"path": "/", "auth": "basic"}}}, "probes.health.auth", "none, id_token"),
        ({"probes": {"health": {"path": "/", "audience": "https://x"}}}, "probes.health.audience", "id_token"),
        ({"probes": {"health": {"path": "/", "headers": {"X-A": "a\nb"}}}}, "probes.health.headers", "line break"),
        ({"probes": {"health": {"path": "/", "headers": {"X A": "a"}}}}, "probes.health.headers", "name of a header"),
        ({"probes": {"health": {"path": "/", "headers": {"X-A": 1}}}}, "probes.health.headers.X-A", "in quotes"),
        ({"probes": {"health": {"path": "/", "headers": {"user-agent": "x"}}}}, "probes.health.headers", "User-Agent"),
        ({"probes": {"health": {"path": "/", "expect": {"status": 42}}}}, "probes.health.expect.status", "HTTP status"),
        ({"probes": {"health": {"path": "/", "expect": {"status": []}}}}, "probes.health.expect.status", "empty list"),
        (
            {"probes": {"health": {"path": "/", "expect": {"jsn": {}}}}},
            "probes.health.expect.jsn",
            'did you mean "json"',
        ),
        (
            {"probes": {"health": {"path": "/", "critical": "maybe"}}},
            "probes.health.critical",
            "neither true nor false",
        ),
        ({"probes": {"health": {"pth": "/"}}}, "probes.health.pth", 'did you mean "path"'),
        ({"metrics": {"health_check": {"source": "pending"}}}, "metrics.health_check", "declared under probes"),
        ({"metrics": {"Queue": {"source": "pending"}}}, "metrics.Queue", "no name for a metric"),
        ({"metrics": {"database_cpu": {}}}, "metrics.database_cpu.source", "is missing"),
        ({"metrics": {"database_cpu": {"source": "cloudsql"}}}, "metrics.database_cpu.source", '"cloud_sql"'),
        ({"metrics": {"database_cpu": {"source": "cloud_run"}}}, "metrics.database_cpu.source", "cannot feed"),
        ({"metrics": {"database_cpu": {"source": "cloud_sql"}}}, "metrics.database_cpu.instance", "is missing"),
        (
            {"metrics": {"databse_cpu": {"source": "cloud_sql", "instance": "d"}}},
            "metrics.databse_cpu",
            '"database_cpu"',
        ),
        ({"metrics": {"error_rate": {"source": "cloud_run", "query": "q"}}}, "metrics.error_rate.query", "no meaning"),
        ({"metrics": {"queue": {"source": "prometheus", "query": "q"}}}, "metrics.queue.unit", "is missing"),
        (
            {"metrics": {"error_rate": {"source": "prometheus", "query": "q", "unit": "ms"}}},
            "metrics.error_rate.unit",
            "not measured in ms",
        ),
        (
            {"metrics": {"db_connections": {"source": "pending"}, "database_connections": {"source": "pending"}}},
            "metrics.database_connections",
            "another name of db_connections",
        ),
        ({"success_criteria": {}}, "success_criteria", "stands where a list belongs"),
        ({"success_criteria": ["error_rate"]}, "success_criteria.0", "stands where a mapping belongs"),
        ({"success_criteria": [{"metric": "error_rate", "target": "< 1%"}]}, "success_criteria.0.action", "is missing"),
        ({"window_criteria": {"short": []}}, "window_criteria.short", "unknown window"),
        (
            {"windows": {"immediate": IMMEDIATE}, "window_criteria": {"extended": []}},
            "window_criteria.extended",
            "no window",
        ),
        ({"rollback": {"mode": "auto"}}, "rollback.mode", 'did you mean "automatic"'),
        ({"rollback": {"mode": False}}, "rollback.mode", "YAML reads off"),
        ({"rollback": {"trial": "101%"}}, "rollback.trial", "100% at most"),
        ({"rollback": {"trial": 0.2}}, "rollback.trial", 'did you mean "20%"'),
        ({"rollback": {"trial": "0%"}}, "rollback.trial", "write off"),
        ({"rollback": {"trial": True}}, "rollback.trial", "not a share"),
        ({"rollback": {"per_day": 0}}, "rollback.per_day", "out of range"),
        ({"rollback": {"cooldown": "-1s"}}, "rollback.cooldown", "negative"),
        ({"rollback": {"cooldwn": "1s"}}, "rollback.cooldwn", 'did you mean "cooldown"'),
        ({"rollback": []}, "rollback", "stands where a mapping belongs"),
        ({"coverage_floor": 0.8}, "coverage_floor", 'did you mean "80%"'),
        ({"coverage_floor": {"a": 1}}, "coverage_floor", "a mapping stands where text belongs"),
        ({"control_url": "example.com"}, "control_url", "not an address"),
        ({"alpha": {"errors": "0%"}}, "alpha.errors", "out of range"),
        ({"alpha": "60%"}, "alpha", "out of range"),
        ({"shared_cause": {"immediate": "asks"}}, "shared_cause.immediate", 'did you mean "ask"'),
        ({"cold_start": {"errors": "25h"}}, "cold_start.errors", "leaves nothing"),
    ],
)
def test_each_mistake_is_found_where_it_stands(changes: dict[str, Any], path: str, said: str) -> None:
    found = problems(**changes)

    assert [place for place, _ in found] == [path]
    assert said in found[0][1]


def test_all_mistakes_are_found_at_once_and_none_is_made_up() -> None:
    found = problems(
        service={**SERVICE, "nme": "x"},
        windows={"immediate": IMMEDIATE, "extnded": {"until": "24h"}},
        probes={"health": {"pth": "/health"}, "ready": {"path": "ready"}},
        metrics={"redis_memory": {"source": "redis"}},
        success_criteria=[
            {"metric": "redis_memory", "target": "< 70%", "action": "scale_up"},
            {"metric": "probe.health", "target": "100%", "action": "rollback"},
        ],
        window_criteria={"extended": [{"metric": "error_rate", "target": "< 1%", "action": "rollback"}]},
        rollback={"immediately_if": ["health_check failing"]},
    )

    assert [path for path, _ in found] == [
        "service.nme",
        "windows.extnded",
        "probes.health.pth",
        "probes.ready.path",
        "metrics.redis_memory.source",
    ]


def test_a_metric_that_only_looks_like_a_known_one_is_warned_about() -> None:
    built = build(metrics={"databse_cpu": {"source": "pending"}})

    assert any('did you mean "database_cpu"' in found.message for found in built.warnings)


# --- whatever comes -----------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        "",
        "off",
        "health",
        "error_rate",
        "health_check",
        "< 1%",
        "> 5%",
        "5s",
        "20%",
        "automatic",
        "rollback",
        "a b",
        "\x00",
    ]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS | st.text()
)
KEYS = st.sampled_from(
    ["metric", "target", "action", "path", "url", "until", "probe_every", "source", "unit", "when", "signal", "status"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)

FULL: dict[str, Any] = {
    **MINIMAL,
    "windows": {
        "immediate": {**IMMEDIATE, "confirm": {"failures": 3}},
        "extended": {"until": "1h", "probe_every": "9s"},
    },
    "probes": {"health": {"path": "/health", "expect": {"status": 200, "json": {"a": 1}}, "headers": {"X-A": "b"}}},
    "metrics": {"queue": {"source": "prometheus", "query": "q", "unit": "count"}},
    "success_criteria": [{"metric": "queue", "target": "< 5", "action": "rollback", "alpha": "1%", "note": "n"}],
    "window_criteria": {"extended": [{"metric": "p50_latency", "target": "< 2x before", "action": "investigate"}]},
    "alert_thresholds": [{"metric": "cpu_usage", "warning": "> 1%", "critical": "> 2%", "action": ["investigate"]}],
    "confirm": {"failures": 2, "every": "1s"},
    "rollback": {"trial": "5%", "immediately_if": ["error_rate > 5%", {"signal": "fire"}]},
    "alpha": {"errors": "1%"},
    "cold_start": {"errors": "1s"},
    "shared_cause": {"immediate": "ask"},
    "coverage_floor": "50%",
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    if isinstance(value, dict):
        return {key: put(item, path[1:], new) if key == path[0] else item for key, item in value.items()}
    return [put(item, path[1:], new) if index == path[0] else item for index, item in enumerate(value)]


@settings(max_examples=300)
@given(st.sampled_from(places(FULL)), VALUES)
def test_any_value_anywhere_gives_a_policy_or_problems_and_a_policy_survives_the_journal(path: Any, value: Any) -> None:
    built = build_policy(put(FULL, path, value))

    if built.policy is None:
        assert built.problems
    else:
        assert not built.problems
        assert Policy.from_canonical(built.policy.canonical()) == built.policy
