"""Alert rules and dashboard ask only for what the daemon exposes, and mean what they say."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from deploy.grafana.build import dashboard
from tests import needs
from watchdog.core.model import State
from watchdog.telemetry import (
    CHECK_STATES,
    NOTIFICATION_RESULTS,
    PROBE_RESULTS,
    ROLLBACK_RESULTS,
    Metrics,
)

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
PROMETHEUS = DEPLOY / "prometheus"

NAMES = """
build_info leader store_up scheduler_lateness_seconds scheduler_missed_slots_total watch_info watch_state
watch_started_timestamp_seconds watch_ends_timestamp_seconds watch_last_evaluation_timestamp_seconds
watch_coverage_ratio evaluation_interval_seconds probe_results_total probe_failures_total probe_duration_seconds
check_state criterion_value criterion_threshold criterion_evidence_ratio tls_certificate_expiry_timestamp_seconds
source_query_duration_seconds source_query_errors_total source_newest_sample_timestamp_seconds rollbacks_total
notifications_total notification_oldest_pending_seconds incident_escalation_level incident_ack_seconds
"""
"""The contract: people build their own dashboards and alerts on these names."""


def exposed() -> dict[str, frozenset[str]]:
    """Every series name of the daemon, with its labels."""
    found: dict[str, frozenset[str]] = {}
    for collector in vars(Metrics(version="test")).values():
        name, labels = getattr(collector, "_name", None), frozenset(getattr(collector, "_labelnames", ()))
        if name is None:
            continue
        match collector._type:
            case "counter":
                found[f"{name}_total"] = labels
            case "histogram":
                found |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
            case _:
                found[name] = labels
    return found


def rule_expressions() -> Iterator[str]:
    for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def dashboard_expressions() -> Iterator[str]:
    """As Grafana sends them, with its variables filled in."""
    board = dashboard()
    raw = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    raw += [mark["expr"] for mark in board["annotations"]["list"]]
    for expression in raw:
        yield re.sub(r"\$\w+", ".*", expression.replace("$__rate_interval", "1m"))


def selectors(node: Any) -> Iterator[promql_parser.VectorSelector]:
    """Every series selector of a parsed query."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    children = ("expr", "lhs", "rhs", "vector_selector", "param")
    for child in (getattr(node, name, None) for name in children):
        if child is not None:
            yield from selectors(child)
    for argument in getattr(node, "args", None) or ():
        yield from selectors(argument)


def test_the_daemon_exposes_the_contract_and_nothing_else() -> None:
    base = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exposed()}

    assert base == {f"watchdog_{name}" for name in NAMES.split()}


@pytest.mark.parametrize("expression", [*rule_expressions(), *dashboard_expressions()])
def test_a_query_parses_and_asks_only_for_what_is_exposed(expression: str) -> None:
    """A misspelt name or label is no error to Prometheus: it would simply never fire."""
    found = list(selectors(promql_parser.parse(expression)))
    known = exposed()

    assert found
    for selector in found:
        assert selector.name in known
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= known[selector.name] | {"instance", "job"}


@pytest.mark.parametrize(
    "metric, label, words",
    [
        ("watchdog_watch_state", "state", {state.value for state in State}),
        ("watchdog_check_state", "state", set(CHECK_STATES)),
        ("watchdog_probe_results_total", "result", set(PROBE_RESULTS)),
        ("watchdog_rollbacks_total", "result", set(ROLLBACK_RESULTS)),
        ("watchdog_notifications_total", "result", set(NOTIFICATION_RESULTS)),
    ],
)
def test_queries_name_only_values_that_exist(metric: str, label: str, words: set[str]) -> None:
    asked = {
        word
        for expression in [*rule_expressions(), *dashboard_expressions()]
        for selector in selectors(promql_parser.parse(expression))
        if selector.name == metric
        for matcher in selector.matchers.matchers
        if matcher.name == label
        for word in matcher.value.split("|")
    }

    assert asked
    assert asked <= words
    if metric in {"watchdog_watch_state", "watchdog_check_state"}:
        assert asked == words  # the timelines show every state


def test_every_alert_says_how_bad_what_and_what_to_do() -> None:
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    for rule in [rule for group in groups for rule in group["rules"]]:
        assert rule["labels"]["severity"] in {"warning", "critical"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]


def test_every_alert_has_been_seen_to_fire() -> None:
    alerts = {
        rule["alert"]
        for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
        for rule in group["rules"]
    }
    tested = (PROMETHEUS / "rules_test.yml").read_text().replace("WatchdogRollback.*", " ".join(alerts))

    assert [alert for alert in alerts if alert not in tested] == []


@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "rules.yml"), ("check", "config", "scrape.yml"), ("test", "rules", "rules_test.yml")],
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([needs.promtool(), *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_what_its_script_writes() -> None:
    assert json.loads((DEPLOY / "grafana" / "watchdog.json").read_text()) == dashboard()


def test_no_two_panels_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        for cell in [
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]:
            assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
            assert cell[0] < 24, panel["title"]
            taken[cell] = panel["title"]
