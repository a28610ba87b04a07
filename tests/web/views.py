"""Read models of watches as `core.report.view` makes them, for pages, API and report."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from watchdog.core.text import iso
from watchdog.ports import WatchRow

T0 = 1_790_000_000.0
"""2026-09-21T14:13:20Z: the cutover of every sample watch."""
NEW = "barq-fleet-api-00042-kim"
OLD = "barq-fleet-api-00041-huz"


def at(offset_s: float) -> str:
    """ISO time, seconds after the cutover."""
    text = iso(T0 + offset_s)
    assert text is not None
    return text


def criterion(row: str, label: str, verdict: str, **more: Any) -> dict[str, Any]:
    base = {
        "id": row, "label": label, "metric": label.split(maxsplit=1)[0],
        "table": "success_criteria", "action": "rollback",
        "severity": "critical", "window": "immediate", "verdict": verdict, "value": None, "value_text": "",
        "threshold": None, "threshold_text": " ".join(label.split()[1:]), "bad": 0, "n": 0, "fullness": 0.0,
        "source": "cloud_run", "since": None, "reason": "",
    }  # fmt: skip
    return base | more


def probe(name: str, state: str = "passing", **more: Any) -> dict[str, Any]:
    base = {
        "name": name, "state": state, "armed": True, "streak": 0, "needed": 5, "passed": 84, "failed": 0, "missing": 0,
        "last_at": at(420), "last_reason": "", "last_detail": "", "last_duration_s": 0.042,
    }  # fmt: skip
    return base | more


def watching(**more: Any) -> dict[str, Any]:
    """Seven minutes after a good deploy."""
    view = {
        "id": "w7f3k2", "project": "barq-fleet", "region": "us-central1", "service": "barq-fleet-api", "revision": NEW,
        "version": "1.4.2", "deployer": "jane@example.com", "notes_of_deploy": "Courier search, smaller images",
        "previous": {OLD: 100}, "rollback_safe": True, "state": "watching", "window": "immediate", "outcome": None,
        "reason": "", "mode": "automatic", "policy_hash": "5f2c", "hold": None,
        "opened_at": at(1.2), "cutover_at": at(0), "ends_at": at(86400), "ended_at": None,
        "last_evaluation_at": at(424),
        "target": {"split": {OLD: 100}, "source": "discovery"}, "coverage": {"immediate": 0.98}, "split": {NEW: 100},
        "windows": [
            {"name": "immediate", "starts_at": at(0), "ends_at": at(900), "state": "open", "coverage": 0.98,
             "verdict": None},
            {"name": "short_term", "starts_at": at(900), "ends_at": at(3600), "state": "waiting", "coverage": None,
             "verdict": None},
            {"name": "extended", "starts_at": at(3600), "ends_at": at(86400), "state": "waiting", "coverage": None,
             "verdict": None},
        ],
        "criteria": [
            criterion("success.error_rate", "error_rate < 1%", "PASS", value=0.0009, value_text="0.09 %",
                      threshold=0.01, bad=4, n=4412, fullness=0.03, since=at(60)),
            criterion("success.health_check", "health_check 100%", "PASS", value=1.0, value_text="100 %", threshold=1.0,
                      bad=0, n=252, source="probe", since=at(5)),
            criterion("success.p95_latency", "p95_latency < 500ms", "PASS", action="investigate", value=0.212,
                      value_text="212 ms", threshold=0.5, bad=21, n=4412, fullness=0.0, since=at(60)),
            criterion("alert.error_rate.warning", "error_rate > 0.5%", "PASS", table="alert_thresholds",
                      action="investigate", severity="warning", value=0.0009, value_text="0.09 %", threshold=0.005,
                      bad=4, n=4412, fullness=0.06, since=at(60)),
            criterion("alert.cpu_usage.critical", "cpu_usage > 90%", "PASS", table="alert_thresholds",
                      action="scale_up", value=0.41, value_text="41 %", threshold=0.9, since=at(60)),
            criterion("window.short_term.p95_latency", "p95_latency < 200ms", "INCONCLUSIVE", table="window_criteria",
                      window="short_term", action="investigate", reason="Its window begins at 14:28:20 UTC."),
            criterion("success.database_cpu", "database_cpu < 70%", "INCONCLUSIVE", action="scale_up", source="",
                      reason="No source yet."),
        ],
        "probes": [probe("health"), probe("ready", last_duration_s=0.051), probe("live", last_duration_s=0.038)],
        "rollback": None, "incident": None,
        "notes": [
            "With 10 requests a second, an error rate of 3 % is seen within 5 min, 1.6 % within an hour.",
            "The previous revision has no tag URL, so it is not asked whether a rollback would help.",
        ],
        "decisions": [],
        "timeline": [
            {"at": at(0), "kind": "cutover", "text": f"{NEW} began to serve; before: {OLD} 100 %."},
            {"at": at(1.2), "kind": "opened", "text": "Watch opened by discovery, mode automatic."},
            {"at": at(63), "kind": "note", "text": "First metrics from Cloud Monitoring."},
        ],
    }  # fmt: skip
    return view | more


def confirming() -> dict[str, Any]:
    """A probe fails and is being repeated."""
    view = watching(
        state="confirming",
        last_evaluation_at=at(424.8),
    )
    view["criteria"][1] |= {"verdict": "WARN", "value": 0.988, "value_text": "98.8 %", "bad": 3, "n": 255,
                            "fullness": 0.61, "reason": "3 of 255 probes failed."}  # fmt: skip
    view["probes"][0] |= {"state": "failing", "streak": 3, "failed": 3, "last_at": at(424), "last_reason": "status",
                          "last_detail": "answered 503, expected 200", "last_duration_s": 0.009}  # fmt: skip
    return view


def rolled_back(**more: Any) -> dict[str, Any]:
    """Hard down two minutes after the cutover; the old revision serves again."""
    decision = "health_check failing: health failed 5 times in a row from 14:15:22 (answered 503, expected 200)."
    view = watching(
        id="w9q1c4", state="ended", outcome="rolled_back", window=None, ended_at=at(140.4), split={OLD: 100},
        last_evaluation_at=at(140.4), coverage={"immediate": 0.97},
        reason=f"Rolled back to {OLD}: health_check failing. Recovery is proven.",
        rollback={"state": "done", "from": {NEW: 100}, "to": {OLD: 100}, "trigger": "health_check failing",
                  "proof": decision, "decided_at": at(126.9),
                  "written_at": at(127.3), "restored_at": at(128.6), "verified_at": at(139.7),
                  "reason": "Every probe passed 3 times in a row."},
        incident={"key": "watchdog/us-central1/barq-fleet-api/w9q1c4/1", "opened_at": at(127), "severity": "critical",
                  "acknowledged_at": None, "acknowledged_by": "", "resolved_at": None,
                  "title": "Rolled back barq-fleet-api in us-central1: health_check failing"},
        decisions=[{"at": at(126.9), "action": "rollback", "criterion": "health_check failing", "reason": decision}],
    )  # fmt: skip
    view["windows"][0] |= {"state": "done", "ends_at": at(140.4), "coverage": 0.97}
    view["windows"][1] |= {"state": "none"}
    view["windows"][2] |= {"state": "none"}
    view["criteria"][1] |= {
        "verdict": "FAIL", "value": 0.868, "value_text": "86.8 %", "bad": 10, "n": 76, "fullness": 1.0,
        "since": at(126.9), "reason": decision,
    }  # fmt: skip
    view["probes"][0] |= {"state": "passing", "passed": 22, "failed": 5, "last_at": at(139), "last_reason": "status",
                          "last_detail": "answered 503, expected 200"}  # fmt: skip
    view["timeline"] += [
        {"at": at(122.1), "kind": "probe", "text": "health failed: answered 503, expected 200."},
        {"at": at(126.9), "kind": "decision", "text": decision},
        {"at": at(127.3), "kind": "rollback", "text": f"Traffic moved from {NEW} 100 % to {OLD} 100 %."},
        {"at": at(128.6), "kind": "rollback", "text": f"{OLD} serves again."},
        {"at": at(139.7), "kind": "recovered", "text": "Every probe passed 3 times in a row."},
    ]
    view["timeline"] = [entry for entry in view["timeline"] if entry["kind"] != "note"]
    return view | more


def passed() -> dict[str, Any]:
    view = watching(
        id="w2b8x0", revision="barq-fleet-api-00041-huz", version="1.4.1", previous={"barq-fleet-api-00040-abc": 100},
        state="ended", outcome="passed", window=None, ended_at=at(-100), last_evaluation_at=at(-100),
        cutover_at=at(-86500), opened_at=at(-86499), ends_at=at(-100),
        split={OLD: 100}, reason="Passed with a warning: p95_latency > 300ms.",
    )  # fmt: skip
    view["criteria"][2] |= {"verdict": "WARN", "reason": "8 % of requests took longer than 300 ms."}
    return view


def held() -> dict[str, Any]:
    view = watching(
        id="w5h2d9", state="held", split={NEW: 60, OLD: 40},
        hold={"reason": "both revisions answer 503 to health, so a rollback would not help", "since": at(129),
              "kind": "shared"},
        incident={"key": "k", "opened_at": at(130), "severity": "critical", "acknowledged_at": at(190),
                  "acknowledged_by": "omar", "resolved_at": None, "title": "Held: shared cause"},
        decisions=[{"at": at(129), "action": "hold", "criterion": "health_check failing",
                    "reason": "Both revisions are sick in the same way since 14:15:20 UTC."}],
    )  # fmt: skip
    view["criteria"][1] |= {"verdict": "FAIL", "reason": "health failed 41 times in a row.", "bad": 41, "n": 300,
                            "fullness": 1.0, "value_text": "86.3 %"}  # fmt: skip
    view["probes"][0] |= {"state": "failing", "streak": 41, "failed": 41, "last_detail": "answered 503, expected 200"}
    view["probes"][2] |= {"armed": False, "state": "missing", "missing": 84, "passed": 0,
                          "last_detail": "answered 403 from Google's front end"}  # fmt: skip
    return view


def observed() -> dict[str, Any]:
    """Observe mode: it failed, and nothing was written."""
    view = rolled_back(
        id="w3o7bs", outcome="failed", mode="observe", split={NEW: 100},
        reason="health_check failing: would have rolled back, but the policy is in observe mode.",
    )  # fmt: skip
    view["rollback"] = {"state": "observed", "from": {NEW: 100}, "to": {OLD: 100}, "trigger": "health_check failing",
                        "proof": "health failed 5 times in a row.",
                        "decided_at": at(126.9), "written_at": None, "restored_at": None, "verified_at": None,
                        "reason": "Observe mode: nothing was written."}  # fmt: skip
    return view


def row(view: Mapping[str, Any]) -> WatchRow:
    """The stored row of a view."""

    def seconds(name: str) -> float | None:
        return datetime.fromisoformat(view[name]).timestamp() if view.get(name) else None

    return WatchRow(
        id=view["id"],
        project=view["project"],
        region=view["region"],
        service=view["service"],
        revision=view["revision"],
        state=view["state"],
        outcome=view["outcome"],
        opened_at=seconds("opened_at") or 0.0,
        ended_at=seconds("ended_at"),
        view=view,
    )
