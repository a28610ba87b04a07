"""Table rows compile to what the file says, and a row that nobody could ever act on is refused."""

from typing import Any

import pytest

from tests.core.policies import build, problems
from watchdog.core.model import Action, Row, Severity, Table, Window
from watchdog.core.policy import Policy, p0_of


def policy_of(**changes: Any) -> Policy:
    built = build(**changes)
    assert built.policy is not None, built.problems
    return built.policy


def row_of(policy: Policy, row_id: str) -> Row:
    row = policy.row(row_id)
    assert row is not None, [r.id for r in policy.rows]
    return row


# --- what a row becomes -------------------------------------------------------------------------------------------


def test_a_success_criterion_is_critical_when_it_rolls_back_and_a_warning_otherwise() -> None:
    policy = policy_of(
        success_criteria=[
            {"metric": "error_rate", "target": "< 1%", "action": "rollback"},
            {"metric": "p95_latency", "target": "< 500ms", "action": "investigate"},
        ]
    )

    errors, latency = row_of(policy, "success.error_rate"), row_of(policy, "success.p95_latency")
    assert (errors.table, errors.action, errors.severity) == (Table.SUCCESS, Action.ROLLBACK, Severity.CRITICAL)
    assert (latency.action, latency.severity) == (Action.INVESTIGATE, Severity.WARNING)
    assert errors.windows == tuple(Window)


def test_of_two_actions_the_first_belongs_to_warning_and_the_second_to_critical() -> None:
    policy = policy_of(
        alert_thresholds=[
            {"metric": "error_rate", "warning": "> 0.5%", "critical": "> 2%", "action": ["investigate", "rollback"]},
            {"metric": "cpu_usage", "warning": "> 70%", "critical": "> 90%", "action": "scale_up"},
        ]
    )

    assert [(r.id, r.severity, r.action) for r in policy.rows] == [
        ("alert.error_rate.warning", Severity.WARNING, Action.INVESTIGATE),
        ("alert.error_rate.critical", Severity.CRITICAL, Action.ROLLBACK),
        ("alert.cpu_usage.warning", Severity.WARNING, Action.SCALE_UP),
        ("alert.cpu_usage.critical", Severity.CRITICAL, Action.SCALE_UP),
    ]


@pytest.mark.parametrize("column", ["warning", "critical"])
def test_an_alert_may_have_only_one_column(column: str) -> None:
    policy = policy_of(alert_thresholds=[{"metric": "cpu_usage", column: "> 70%", "action": "investigate"}])

    assert [r.id for r in policy.rows] == [f"alert.cpu_usage.{column}"]


def test_a_window_criterion_counts_in_its_window_only() -> None:
    policy = policy_of(
        window_criteria={"short_term": [{"metric": "p50_latency", "target": "< 1.5x before", "action": "investigate"}]}
    )

    row = row_of(policy, "window.short_term.p50_latency")
    assert row.windows == (Window.SHORT_TERM,)
    assert row.condition is not None
    assert (row.condition.relative, row.condition.value) == (True, 1.5)


def test_immediate_entries_become_rollback_rows_and_signals() -> None:
    policy = policy_of(
        rollback={
            "immediately_if": [
                "error_rate > 5%",
                "health_check failing",
                "probe.health failing",
                {"signal": "database_corruption", "note": "Database corruption detected"},
                {"when": "p99_latency > 5s", "alpha": "0.05%", "note": "unusable"},
            ]
        }
    )

    assert [(r.id, r.action, r.severity) for r in policy.rows] == [
        (f"immediate.{metric}", Action.ROLLBACK, Severity.CRITICAL)
        for metric in ("error_rate", "health_check", "probe.health", "p99_latency")
    ]
    assert row_of(policy, "immediate.health_check").condition is None
    assert row_of(policy, "immediate.p99_latency").alpha == 0.0005
    assert policy.signals == {"database_corruption"}
    assert policy.notes == {
        "signal.database_corruption": "Database corruption detected",
        "immediate.p99_latency": "unusable",
    }


def test_rows_of_a_metric_without_a_source_are_pending_and_it_is_said() -> None:
    built = build(
        metrics={
            "database_cpu": {"source": "pending"},
            "db_connections": {"source": "cloud_sql", "instance": "db"},
            "queue_depth": {"source": "prometheus", "query": "sum(queue_depth)", "unit": "count"},
        },
        success_criteria=[
            {"metric": "database_cpu", "target": "< 70%", "action": "scale_up"},
            {"metric": "database_connections", "target": "< 80%", "action": "scale_up"},
            {"metric": "queue_depth", "target": "< 100", "action": "investigate"},
            {"metric": "cpu_usage", "target": "< 70%", "action": "investigate"},
        ],
    )

    assert built.policy is not None
    assert {r.metric: r.pending for r in built.policy.rows} == {
        "database_cpu": True,
        "db_connections": False,
        "queue_depth": False,
        "cpu_usage": False,
    }
    said = {found.path[1]: found.message for found in built.warnings if found.path[:1] == ("metrics",)}
    assert list(said) == ["database_cpu"]
    assert "is pending" in said["database_cpu"]


def test_cloud_runs_own_metrics_need_no_declaration() -> None:
    metrics = policy_of().metrics

    assert set(metrics) == {
        *("request_rate", "error_rate", "p50_latency", "p95_latency", "p99_latency", "cpu_usage", "memory_usage"),
        *("instances", "network_sent", "network_received", "client_error_rate", "grpc_error_rate", "request_drop"),
    }
    assert all(m.source == "cloud_run" and not m.pending for m in metrics.values())


# --- p0 and alpha -------------------------------------------------------------------------------------------------


def test_p0_is_the_share_that_the_row_still_accepts() -> None:
    policy = policy_of(
        success_criteria=[
            {"metric": metric, "target": target, "action": "rollback"}
            for metric, target in (
                ("error_rate", "< 1%"),
                ("p50_latency", "< 1.5x before"),
                ("p95_latency", "< 500ms"),
                ("p99_latency", "< 1s"),
                ("health_check", "100%"),
                ("probe.health", ">= 90%"),
                ("cpu_usage", "< 70%"),
            )
        ],
        window_criteria={"immediate": [{"metric": "error_rate", "target": "< 2x before", "action": "rollback"}]},
        rollback={"immediately_if": ["health_check failing"]},
    )

    assert {r.id: p0_of(r) for r in policy.rows} == {
        "success.error_rate": 0.01,
        "success.p50_latency": 0.5,
        "success.p95_latency": 0.05,
        "success.p99_latency": 0.01,
        "success.health_check": 0.02,
        "success.probe.health": 0.1,
        "success.cpu_usage": None,
        "window.immediate.error_rate": None,
        "immediate.health_check": None,
    }


def test_alpha_is_shared_by_the_rows_of_one_metric_and_severity() -> None:
    policy = policy_of(
        success_criteria=[
            {"metric": "error_rate", "target": "< 1%", "action": "rollback"},
            {"metric": "health_check", "target": "100%", "action": "rollback"},
            {"metric": "memory_usage", "target": "< 80%", "action": "rollback"},
            {"metric": "p99_latency", "target": "< 1s", "action": "rollback"},
        ],
        alert_thresholds=[
            {"metric": "error_rate", "warning": "> 0.5%", "critical": "> 2%", "action": ["investigate", "rollback"]}
        ],
        rollback={"immediately_if": [{"when": "error_rate > 5%", "alpha": "0.01%"}, "health_check failing"]},
    )

    assert {r.id: policy.alpha_of(r) for r in policy.rows} == {
        "success.error_rate": 0.0025,
        "success.health_check": 0.002,
        "success.memory_usage": None,
        "success.p99_latency": 0.001,
        "alert.error_rate.warning": 0.05,
        "alert.error_rate.critical": 0.0025,
        "immediate.error_rate": 0.0001,
        "immediate.health_check": None,
    }


def test_alpha_can_be_given_by_kind_or_as_a_total() -> None:
    by_kind = policy_of(alpha={"errors": "0.1%", "warnings": "1%"}).alpha
    total = policy_of(alpha="0.11%").alpha

    assert (by_kind.errors, by_kind.warnings, by_kind.p95) == (0.001, 0.01, 0.002)
    assert total.errors + total.p50 + total.p95 + total.p99 + total.probes == pytest.approx(0.0011)
    assert total.warnings == 0.05


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metric, target, said",
    [
        ("eror_rate", "< 1%", 'did you mean "error_rate"'),
        ("latency_p95", "< 1s", 'did you mean "p95_latency"'),
        ("probe.helth", "100%", 'did you mean "probe.health"'),
        ("frobnication", "< 1", "known: error_rate"),
        ("database_cpu", "< 70%", "no source feeds database_cpu"),
        ("error_rate", "< 500ms", "impossible unit"),
        ("error_rate", "< 101%", "100% at most"),
        ("error_rate", "> 1%", 'points the wrong way, since a target says what must hold; did you mean "< 1%"'),
        ("error_rate", "< 0%", "name a share above 0%"),
        ("error_rate", "< 100%", "below 100%"),
        ("p95_latency", "< 0ms", "every answer takes time"),
        ("health_check", "< 100%", 'did you mean "> 100%"'),
        ("health_check", "> 100%", "can never be true"),
        ("health_check", ">= 0%", "never depends on the probes"),
        ("health_check", "> 1x before", 'write "100%"'),
        ("cpu_usage", "<= 100%", "always true"),
        ("cpu_usage", "< 0%", "can never be true"),
        ("request_rate", ">= 0/s", "always true"),
    ],
)
def test_a_criterion_that_cannot_be_judged_is_refused(metric: str, target: str, said: str) -> None:
    found = problems(success_criteria=[{"metric": metric, "target": target, "action": "investigate"}])

    assert len(found) == 1
    assert found[0][0] in {"success_criteria.0.metric", "success_criteria.0.target"}
    assert said in found[0][1]


@pytest.mark.parametrize(
    "alert, key, said",
    [
        ({"warning": "> 3%", "critical": "> 2%"}, "warning", "looser than critical"),
        ({"warning": "< 1%", "critical": "> 2%"}, "warning", "points the wrong way"),
        ({}, "", "neither warning nor critical"),
        ({"warning": "> 1%", "action": ["investigate", "rollback"]}, "action", "two actions need"),
        ({"warning": "> 1%", "action": ["investigate"] * 3}, "action", "one action, or two"),
        ({"warning": "> 1%", "action": "rolback"}, "action", 'did you mean "rollback"'),
        ({"warning": "> 1%", "action": "redeploy_image"}, "action", "reserved"),
    ],
)
def test_an_alert_that_contradicts_itself_is_refused(alert: dict[str, Any], key: str, said: str) -> None:
    found = problems(alert_thresholds=[{"metric": "error_rate", "action": "investigate", **alert}])

    assert [path for path, _ in found] == [".".join(filter(None, ("alert_thresholds.0", key)))]
    assert said in found[0][1]


def test_columns_of_a_metric_that_may_be_bad_either_way_must_still_agree() -> None:
    found = problems(
        alert_thresholds=[{"metric": "request_rate", "warning": "< 1/s", "critical": "> 9/s", "action": "investigate"}]
    )

    assert "opposite directions" in found[0][1]


def test_a_gauge_written_the_wrong_way_round_is_warned_about() -> None:
    built = build(success_criteria=[{"metric": "cpu_usage", "target": "> 70%", "action": "scale_up"}])

    assert built.policy is not None
    assert any("points the wrong way" in found.message for found in built.warnings)


@pytest.mark.parametrize(
    "entry, said",
    [
        ("error_rate", "not a condition"),
        ("error_rate failing", "only probes can be failing"),
        ("error_rate < 5%", "a threshold says what must not happen"),
        ("> 5%", "not a condition"),
        ({"signal": "security_vulnerabilty"}, 'did you mean "security_vulnerability"'),
        ({"signal": "Not A Name"}, "is not a signal"),
        ({"signal": "fire", "when": "error_rate > 5%"}, "needs either"),
        ({"signal": "fire", "alpha": "1%"}, "has no alpha"),
        ({"when": "health_check failing", "alpha": "1%"}, "has no alpha"),
        ({}, "needs either"),
        ({"health_check": "failing"}, "unknown key"),
        (7, "stands where a mapping belongs"),
    ],
)
def test_an_immediate_entry_that_says_nothing_is_refused(entry: object, said: str) -> None:
    found = problems(rollback={"immediately_if": [entry]})

    assert len(found) == 1
    assert found[0][0].startswith("rollback.immediately_if.0")
    assert said in found[0][1]


def test_health_check_needs_a_probe_that_can_fail_it() -> None:
    without = problems(probes=None, rollback={"immediately_if": ["health_check failing"]})
    harmless = problems(
        probes={"health": {"path": "/health", "critical": False}}, rollback={"immediately_if": ["health_check failing"]}
    )

    assert "declare at least one probe" in without[0][1]
    assert "can never be failing" in harmless[0][1]


def test_the_same_row_twice_is_refused_and_names_the_first() -> None:
    row = {"metric": "error_rate", "target": "< 1%", "action": "rollback"}

    found = problems(success_criteria=[row, row], rollback={"immediately_if": ["error_rate > 5%", "error_rate > 6%"]})

    assert found == [
        ("success_criteria.1", "is a second row for error_rate; the first is success_criteria[0]"),
        ("rollback.immediately_if.1", "is a second row for error_rate; the first is rollback.immediately_if[0]"),
    ]


def test_every_mistake_of_a_row_is_told_at_once() -> None:
    found = problems(
        success_criteria=[{"metric": "eror_rate", "target": "< 1 parsec", "action": "rolback", "not": "e"}]
    )

    assert {path.rpartition(".")[2] for path, _ in found} == {"metric", "target", "action", "not"}


def test_a_policy_that_never_rolls_back_says_so() -> None:
    assert any("no row of this policy rolls back" in found.message for found in build().warnings)
