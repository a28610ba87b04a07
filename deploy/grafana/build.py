"""Writes watchdog.json, the Grafana dashboard: a review reads the queries here and not two thousand lines of JSON.

From the top of the repository, `python -m deploy.grafana.build` writes it, and with `--check` says whether the file is
what this script writes. Import it in Grafana 11 or newer, or provision it; it asks for the Prometheus data source.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from deploy.grafana.parts import (
    FULL,
    HALF,
    THIRD,
    WATCH,
    annotation,
    instant,
    lines,
    panel,
    place,
    quantile,
    query,
    stat,
    states,
    steps,
    variable,
)

OUTPUT = Path(__file__).with_name("watchdog.json")
# In the order of a watch's life. The number is only what the state timeline maps back to the word.
STATES = {
    "pending": "light-blue",
    "watching": "green",
    "confirming": "orange",
    "held": "purple",
    "awaiting_approval": "dark-orange",
    "rolling_back": "red",
    "verifying": "yellow",
    "paused": "text",
    "ended": "blue",
}
CHECK_STATES = {"passing": "green", "failing": "red", "missing": "yellow", "unknown": "text"}


SECTIONS: dict[str, list[dict[str, Any]]] = {
    "The watch": [
        panel(
            "table",
            "Open watches",
            "What is being watched now, and the split that a rollback would put back.",
            instant(f"watchdog_watch_info{{{WATCH}}}", format="table"),
            instant(f"1000 * max by (watch) (watchdog_watch_started_timestamp_seconds{{{WATCH}}})", format="table"),
            instant(f"1000 * max by (watch) (watchdog_watch_ends_timestamp_seconds{{{WATCH}}})", format="table"),
            transformations=[
                {"id": "joinByField", "options": {"byField": "watch", "mode": "outer"}},
                {
                    "id": "organize",
                    "options": {
                        "excludeByName": dict.fromkeys(
                            ["Time", "Time 1", "Time 2", "Time 3", "Value #A", "__name__", "instance", "job"], True
                        ),
                        "renameByName": {"Value #B": "began to serve", "Value #C": "ends", "previous": "before it"},
                    },
                },
            ],
            overrides=[
                {
                    "matcher": {"id": "byRegexp", "options": "began to serve|ends"},
                    "properties": [{"id": "unit", "value": "dateTimeAsIso"}],
                }
            ],
            options={"showHeader": True},
            width=FULL,
            height=5,
        ),
        states("State", "The life of each watch.", "watchdog_watch_state", "watch", STATES, width=FULL, height=5),
        states("Checks", "What each probe says.", "watchdog_check_state", "watch, check", CHECK_STATES, width=HALF),
        lines(
            "Coverage",
            "Share of the watched time for which evidence arrived. Below 80 % a window ends unverified, never passed.",
            query(f"watchdog_watch_coverage_ratio{{{WATCH}}}", "{{watch}} {{window}}"),
            unit="percentunit",
            min=0,
            max=1,
            thresholds=steps((None, "red"), (0.8, "green")),
            limit=True,
        ),
    ],
    "Criteria": [
        lines(
            "How full the evidence is",
            "How much of the proof that an alarm needs has gathered. At 100 % the row's verdict is given.",
            query(f"watchdog_criterion_evidence_ratio{{{WATCH}}}", "{{criterion}}"),
            unit="percentunit",
            min=0,
            thresholds=steps((None, "green"), (0.5, "yellow"), (1, "red")),
            limit=True,
        ),
        lines(
            "Value as a share of its limit",
            "Every row on one scale: 100 % is the limit. Crossing it proves nothing by itself; the panel beside does.",
            query(
                f"watchdog_criterion_value{{{WATCH}}} / (watchdog_criterion_threshold{{{WATCH}}} > 0)", "{{criterion}}"
            ),
            unit="percentunit",
            min=0,
            thresholds=steps((None, "green"), (1, "red")),
            limit=True,
        ),
        lines(
            "$criterion",
            "What the row's metric says, and its limit, in base units (ratios from 0 to 1, seconds, bytes).",
            query(f'watchdog_criterion_value{{{WATCH}, criterion=~"$criterion"}}', "{{watch}} value"),
            query(f'watchdog_criterion_threshold{{{WATCH}, criterion=~"$criterion"}}', "{{watch}} limit"),
            overrides=[
                {
                    "matcher": {"id": "byRegexp", "options": ".* limit"},
                    "properties": [
                        {"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}},
                        {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
                        {"id": "custom.fillOpacity", "value": 0},
                    ],
                }
            ],
            width=FULL,
            height=6,
            repeat="criterion",
            repeatDirection="h",
            maxPerRow=3,
        ),
    ],
    "Probes": [
        lines(
            "Success ratio",
            "Passed among those that answered or failed; samples lost to the prober's own faults are left out.",
            query(
                f'sum by (check) (rate(watchdog_probe_results_total{{{WATCH}, result="passed"}}[$__rate_interval]))'
                f' / sum by (check) (rate(watchdog_probe_results_total{{{WATCH}, result=~"passed|failed"}}'
                "[$__rate_interval]))",
                "{{check}}",
            ),
            unit="percentunit",
            min=0,
            max=1,
            width=THIRD,
        ),
        panel(
            "heatmap",
            "Latency",
            "How long probes took.",
            query(
                f"sum by (le) (increase(watchdog_probe_duration_seconds_bucket{{{WATCH}}}[$__rate_interval]))",
                "{{le}}",
                format="heatmap",
            ),
            options={
                "calculate": False,
                "yAxis": {"unit": "s"},
                "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
                "cellGap": 1,
                "tooltip": {"mode": "single", "yHistogram": True},
            },
            width=THIRD,
        ),
        lines(
            "Failures by reason",
            "Failed or missing probes by their typed reason.",
            query(
                f"sum by (reason) (increase(watchdog_probe_failures_total{{{WATCH}}}[$__rate_interval])) > 0",
                "{{reason}}",
            ),
            custom={"drawStyle": "bars", "fillOpacity": 70, "stacking": {"mode": "normal"}},
            width=THIRD,
        ),
        lines(
            "Latency by check",
            "Median and 95th percentile.",
            query(quantile(0.5, "watchdog_probe_duration_seconds", "check", f"{{{WATCH}}}"), "{{check}} p50"),
            query(quantile(0.95, "watchdog_probe_duration_seconds", "check", f"{{{WATCH}}}"), "{{check}} p95"),
            unit="s",
        ),
        lines(
            "Certificates",
            "Time until the certificate of a probed host expires.",
            query("watchdog_tls_certificate_expiry_timestamp_seconds - time()", "{{host}}"),
            unit="s",
            thresholds=steps((None, "red"), (14 * 86400, "green")),
            limit=True,
        ),
    ],
    "Paging": [
        lines(
            "Oldest message waiting",
            "Age of the oldest message that a channel has not taken yet.",
            query("max by (channel) (watchdog_notification_oldest_pending_seconds)", "{{channel}}"),
            unit="s",
            thresholds=steps((None, "green"), (120, "red")),
            limit=True,
            width=THIRD,
        ),
        lines(
            "Messages",
            "Delivered, tried again, and given up.",
            query(
                "sum by (channel, result) (increase(watchdog_notifications_total[$__rate_interval])) > 0",
                "{{channel}} {{result}}",
            ),
            custom={"drawStyle": "bars", "fillOpacity": 70, "stacking": {"mode": "normal"}},
            width=THIRD,
        ),
        lines(
            "Escalation level",
            "0 without an incident that somebody still has to acknowledge.",
            query(f"watchdog_incident_escalation_level{{{WATCH}}}", "{{watch}}"),
            min=0,
            max=4,
            custom={"lineInterpolation": "stepAfter"},
            width=THIRD,
        ),
        lines(
            "Time to acknowledge",
            "From the page to the first acknowledgement.",
            query(quantile(0.5, "watchdog_incident_ack_seconds"), "p50"),
            query(quantile(0.95, "watchdog_incident_ack_seconds"), "p95"),
            unit="s",
        ),
        lines(
            "Rollbacks",
            "By what triggered them and how they went.",
            query(
                "sum by (service, trigger, result) (increase(watchdog_rollbacks_total[$__rate_interval])) > 0",
                "{{service}} {{trigger}} {{result}}",
            ),
            custom={"drawStyle": "bars", "fillOpacity": 70, "stacking": {"mode": "normal"}},
        ),
    ],
    "The watchdog itself": [
        stat("Running", "Instances that answer a scrape.", instant("count(watchdog_build_info) or vector(0)")),
        stat("Leaders", "Instances that hold a lease.", instant("sum(watchdog_leader)")),
        stat(
            "Store",
            "1 while the store answers.",
            instant("min(watchdog_store_up)"),
            thresholds=steps((None, "red"), (1, "green")),
        ),
        stat(
            "Last judged",
            "Age of the oldest judgement of an open watch.",
            instant("max(time() - watchdog_watch_last_evaluation_timestamp_seconds)"),
            unit="s",
            thresholds=steps((None, "green"), (60, "red")),
        ),
        stat(
            "Slots skipped",
            "Probe slots skipped in the last hour since the loop was late.",
            instant("sum(increase(watchdog_scheduler_missed_slots_total[1h]))"),
            thresholds=steps((None, "green"), (1, "red")),
        ),
        stat("Version", "What runs.", instant("watchdog_build_info", "{{version}}"), text="name"),
        lines(
            "Lateness",
            "How late probes and deadlines start.",
            query(quantile(0.5, "watchdog_scheduler_lateness_seconds"), "p50"),
            query(quantile(0.99, "watchdog_scheduler_lateness_seconds"), "p99"),
            unit="s",
            width=THIRD,
        ),
        lines(
            "Sources: time of a query",
            "95th percentile.",
            query(quantile(0.95, "watchdog_source_query_duration_seconds", "source"), "{{source}}"),
            unit="s",
            width=THIRD,
        ),
        lines(
            "Sources: age of the newest sample",
            "Cloud Monitoring is up to four minutes behind by itself.",
            query("time() - max by (source) (watchdog_source_newest_sample_timestamp_seconds)", "{{source}}"),
            query(
                "sum by (source) (increase(watchdog_source_query_errors_total[$__rate_interval])) > 0",
                "{{source}} errors",
            ),
            unit="s",
            overrides=[
                {
                    "matcher": {"id": "byRegexp", "options": ".* errors"},
                    "properties": [{"id": "unit", "value": "short"}],
                }
            ],
            width=THIRD,
        ),
        lines(
            "Pace of judging",
            "The interval that is promised, and the age of the last judgement.",
            query(f"watchdog_evaluation_interval_seconds{{{WATCH}}}", "{{watch}} promised"),
            query(f"time() - watchdog_watch_last_evaluation_timestamp_seconds{{{WATCH}}}", "{{watch}} age"),
            unit="s",
            width=FULL,
            height=6,
        ),
    ],
}


def dashboard() -> dict[str, Any]:
    """The whole dashboard."""
    source = {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "current": {}}
    return {
        "uid": "deploy-watchdog",
        "title": "Deploy watchdog",
        "description": "Every deploy under watch: what is seen, what was decided, and whether the watchdog is well.",
        "tags": ["deploy-watchdog"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                source,
                variable("watch", "Watch", "watchdog_watch_info"),
                variable("criterion", "Criterion", f"watchdog_criterion_value{{{WATCH}}}"),
            ]
        },
        "annotations": {
            "list": [
                annotation(
                    "Deploys",
                    "blue",
                    f"1000 * max by (watch) (watchdog_watch_started_timestamp_seconds{{{WATCH}}})",
                    "{{watch}} began to serve",
                    useValueForTime=True,
                ),
                annotation(
                    "Rollbacks",
                    "red",
                    "sum by (service, trigger, result) (increase(watchdog_rollbacks_total[1m])) > 0",
                    "rollback of {{service}}: {{result}} ({{trigger}})",
                ),
            ]
        },
        "panels": place(SECTIONS),
    }


def main() -> int:
    """Exit code: 0 written, or the file is what it should be; 1 it is not."""
    parser = argparse.ArgumentParser(description="Write the Grafana dashboard.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when watchdog.json is out of date")
    options = parser.parse_args()
    text = json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"
    if not options.check:
        OUTPUT.write_text(text, encoding="utf-8")
        print(f"{OUTPUT.name}: {len(dashboard()['panels'])} panels")
    elif not OUTPUT.exists() or OUTPUT.read_text(encoding="utf-8") != text:
        print(f"{OUTPUT} is out of date: run python -m deploy.grafana.build and commit the result")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
