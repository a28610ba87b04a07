"""Logs that machines and people can read and that hold no secret; metrics that say what the design promises."""

import io
import json
import logging
import re
import subprocess
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from prometheus_client import exposition
from prometheus_client.parser import text_string_to_metric_families

from tests import needs
from tests.web import views
from watchdog.core.model import Failed, Passed, State
from watchdog.core.probing import ProbeAnswer
from watchdog.telemetry import HIDDEN, Metrics, Redactor, configure_logging, rollback_trigger

# --- logs ----------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Logging is the process's own: give it back as it was."""
    root, level = logging.getLogger(), logging.getLogger().level
    handlers = list(root.handlers)
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def logs(**options: Any) -> io.StringIO:
    stream = io.StringIO()
    configure_logging(stream=stream, now=lambda: views.T0, **options)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_lines_are_json_with_time_level_event_and_the_bound_context_unless_on_a_terminal() -> None:
    stream = logs()
    structlog.contextvars.bind_contextvars(watch="w7f3k2")

    structlog.get_logger("watchdog").info("verdict_changed", criterion="success.error_rate", n=3)

    assert lines(stream) == [
        {"time": "2026-09-21T14:13:20.000Z", "level": "info", "severity": "INFO", "event": "verdict_changed",
         "watch": "w7f3k2", "criterion": "success.error_rate", "n": 3}
    ]  # fmt: skip


def test_a_terminal_gets_text() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    configure_logging(stream=stream)

    structlog.get_logger().warning("probe_failed", probe="health")

    assert "probe_failed" in stream.getvalue()
    with pytest.raises(json.JSONDecodeError):
        json.loads(stream.getvalue())


def test_without_a_clock_the_time_is_iso_and_utc() -> None:
    stream = io.StringIO()
    configure_logging(json=True, stream=stream)

    structlog.get_logger().info("started")

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", lines(stream)[0]["time"])


def test_libraries_are_heard_from_warning_up_in_the_same_form() -> None:
    stream = logs()

    logging.getLogger("aiohttp.client").info("noise")
    logging.getLogger("aiohttp.client").warning("slow %s", "peer")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old call", UserWarning, stacklevel=1)

    first, second = lines(stream)
    assert (first["event"], first["level"], first["logger"]) == ("slow peer", "warning", "aiohttp.client")
    assert "old call" in second["event"]


def test_set_up_twice_every_line_is_still_written_once() -> None:
    logs()
    stream = logs()

    structlog.get_logger().info("once")
    logging.getLogger("x").warning("once")

    assert len(lines(stream)) == 2


def test_levels_below_the_chosen_one_are_left_out() -> None:
    stream = logs(level=logging.WARNING)

    structlog.get_logger().info("quiet")
    structlog.get_logger().error("loud")

    assert [line["event"] for line in lines(stream)] == ["loud"]


SECRET = "correct-horse-battery"


@pytest.mark.parametrize(
    "fields",
    [
        {"api_token": SECRET}, {"Authorization": f"Bearer {SECRET}"}, {"routing_key": SECRET},
        {"header": f"Bearer {SECRET}"}, {"url": f"postgresql://watchdog:{SECRET}@db/watchdog"},
        {"url": f"https://hooks.slack.com/services/T0/B0/{SECRET}"}, {"text": f"used xoxb-1-{SECRET}"},
        {"url": f"https://x/y?access_token={SECRET}&z=1"}, {"body": {"deep": [{"password": SECRET}]}},
        {"pair": ("a", f"Basic {SECRET}")}, {"error": ValueError(f"refused: Bearer {SECRET}")}, {"set_cookie": SECRET},
    ],
)  # fmt: skip
@pytest.mark.parametrize("json_lines", [True, False])
def test_no_secret_is_logged_by_its_key_or_its_shape(fields: dict[str, Any], json_lines: bool) -> None:  # noqa: FBT001
    stream = logs(json=json_lines)

    structlog.get_logger().warning("request_failed", **fields)

    assert SECRET not in stream.getvalue()
    assert HIDDEN in stream.getvalue()


def test_known_secrets_are_hidden_wherever_they_stand_also_in_tracebacks_and_library_lines() -> None:
    stream = logs(secrets=[SECRET, "abc"])

    try:
        local = SECRET
        raise RuntimeError(f"cannot use {local}")
    except RuntimeError:
        structlog.get_logger().exception("crashed", note=f"a{SECRET}b")
    logging.getLogger("x").warning("sent %s", SECRET)
    structlog.get_logger().info("abc", letters="abcdef")

    assert SECRET not in stream.getvalue()
    assert "cannot use" in lines(stream)[0]["exception"]
    assert lines(stream)[-1]["letters"] == "abcdef"


def test_what_only_sounds_like_a_secret_and_holds_none_is_kept() -> None:
    kept = {"monkey": "x", "dedup_key": "watchdog/us/api/1", "token_set": True, "tokens": None, "idempotency_key": "k"}

    assert Redactor()(None, "info", dict(kept)) == kept


# --- metrics ------------------------------------------------------------------------------------------------------

PROMISED = {
    "build_info": {"version"}, "leader": set(), "store_up": set(), "scheduler_lateness_seconds": set(),
    "scheduler_missed_slots": set(), "watch_info": {"watch", "service", "region", "revision", "previous"},
    "watch_state": {"watch", "state"}, "watch_started_timestamp_seconds": {"watch"},
    "watch_ends_timestamp_seconds": {"watch"}, "watch_last_evaluation_timestamp_seconds": {"watch"},
    "watch_coverage_ratio": {"watch", "window"}, "evaluation_interval_seconds": {"watch"},
    "probe_results": {"watch", "check", "result"}, "probe_failures": {"watch", "check", "reason"},
    "probe_duration_seconds": {"watch", "check"}, "check_state": {"watch", "check", "state"},
    "criterion_value": {"watch", "criterion"}, "criterion_threshold": {"watch", "criterion"},
    "criterion_evidence_ratio": {"watch", "criterion"}, "tls_certificate_expiry_timestamp_seconds": {"host"},
    "source_query_duration_seconds": {"source"}, "source_query_errors": {"source"},
    "source_newest_sample_timestamp_seconds": {"source"}, "rollbacks": {"service", "trigger", "result"},
    "notifications": {"channel", "kind", "result"}, "notification_oldest_pending_seconds": {"channel"},
    "incident_escalation_level": {"watch"}, "incident_ack_seconds": set(),
}  # fmt: skip


def made() -> Metrics:
    return Metrics(version="0.1.0", services=["barq-fleet-api"], channels=["slack"], sources=["cloud_run"])


def busy() -> Metrics:
    metrics = made()
    metrics.set_watch(views.confirming(), evaluation_interval_s=5)
    metrics.set_watch(views.watching(id="other"), evaluation_interval_s=5)
    answer = ProbeAnswer(evidence=Failed("status"), started_at=1.0, ended_at=1.25)
    metrics.observe_probe("w7f3k2", "health", answer)
    metrics.tls_certificate_expiry_timestamp_seconds.labels("api.barqfleet.com").set(views.T0)
    metrics.source_newest_sample_timestamp_seconds.labels("cloud_run").set(views.T0)
    return metrics


def text(metrics: Metrics) -> str:
    return exposition.generate_latest(metrics.registry).decode()


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"watchdog_{name}", labels)


def test_names_and_labels_are_the_promised_ones() -> None:
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text(busy())):
        if family.name.startswith("watchdog_"):
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            found[family.name.removeprefix("watchdog_")] = labels

    assert found == PROMISED


def test_promtool_accepts_the_exposition() -> None:
    command = [str(needs.promtool()), "check", "metrics"]

    checked = subprocess.run(command, input=text(busy()), text=True, capture_output=True, check=False, timeout=30)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_known_series_exist_at_zero_before_anything_has_happened() -> None:
    metrics = made()

    assert value(metrics, "build_info", version="0.1.0") == 1
    assert value(metrics, "leader") == value(metrics, "store_up") == value(metrics, "scheduler_missed_slots_total") == 0
    for result in ("done", "refused", "failed", "observed"):
        labels = {"service": "barq-fleet-api", "trigger": "health_check", "result": result}
        assert value(metrics, "rollbacks_total", **labels) == 0
    assert value(metrics, "notifications_total", channel="slack", kind="rolled_back", result="dead") == 0
    assert value(metrics, "notification_oldest_pending_seconds", channel="slack") == 0
    assert value(metrics, "source_query_errors_total", source="cloud_run") == 0
    assert value(metrics, "source_query_duration_seconds_count", source="cloud_run") == 0
    assert value(metrics, "source_newest_sample_timestamp_seconds", source="cloud_run") is None


def test_process_metrics_are_included() -> None:
    assert "process_resident_memory_bytes" in text(made())


def test_two_daemons_in_one_process_share_no_series() -> None:
    one, two = made(), made()
    one.leader.set(1)

    assert value(two, "leader") == 0


def test_a_watch_is_told_whole() -> None:
    metrics = busy()
    labels = {"watch": "w7f3k2"}

    previous = f"{views.OLD}=100"
    info = {"service": "barq-fleet-api", "region": "us-central1", "revision": views.NEW, "previous": previous}
    assert value(metrics, "watch_info", **labels, **info) == 1
    assert {s: value(metrics, "watch_state", **labels, state=s) for s in State} == {
        s: float(s == State.CONFIRMING) for s in State
    }
    assert value(metrics, "watch_started_timestamp_seconds", **labels) == views.T0
    assert value(metrics, "watch_ends_timestamp_seconds", **labels) == views.T0 + 86400
    assert value(metrics, "watch_last_evaluation_timestamp_seconds", **labels) == views.T0 + 424.8
    assert value(metrics, "watch_coverage_ratio", **labels, window="immediate") == 0.98
    assert value(metrics, "evaluation_interval_seconds", **labels) == 5
    assert value(metrics, "check_state", **labels, check="health", state="failing") == 1
    assert value(metrics, "check_state", **labels, check="health", state="passing") == 0
    assert value(metrics, "criterion_value", **labels, criterion="success.error_rate") == 0.0009
    assert value(metrics, "criterion_threshold", **labels, criterion="success.error_rate") == 0.01
    assert value(metrics, "criterion_evidence_ratio", **labels, criterion="success.health_check") == 0.61
    assert value(metrics, "incident_escalation_level", **labels) == 0


def test_no_value_is_no_series_rather_than_zero() -> None:
    metrics = made()
    view = views.watching()
    metrics.set_watch(view)
    row = {"watch": "w7f3k2", "criterion": "success.error_rate"}

    assert value(metrics, "criterion_value", watch="w7f3k2", criterion="success.database_cpu") is None
    assert value(metrics, "criterion_value", **row) == 0.0009
    view["criteria"][0]["value"] = None
    metrics.set_watch(view)
    assert value(metrics, "criterion_value", **row) is None


def test_probe_results_are_counted_once_and_never_fall() -> None:
    """Views come again and again; a view that is older than the last one must not look like a counter reset."""
    metrics = made()
    view = views.watching()
    labels = {"watch": "w7f3k2", "check": "health"}

    def passed() -> float | None:
        return value(metrics, "probe_results_total", **labels, result="passed")

    metrics.set_watch(view)
    metrics.set_watch(view)
    assert passed() == 84
    view["probes"][0]["passed"] = 90
    metrics.set_watch(view)
    assert passed() == 90
    view["probes"][0]["passed"] = 88
    metrics.set_watch(view)
    assert passed() == 90
    assert value(metrics, "probe_results_total", **labels, result="failed") == 0


def test_probe_reasons_and_times_are_observed() -> None:
    metrics = busy()
    metrics.observe_probe("w7f3k2", "health", ProbeAnswer(evidence=Passed(), started_at=2.0, ended_at=2.04))
    labels = {"watch": "w7f3k2", "check": "health"}

    assert value(metrics, "probe_failures_total", **labels, reason="status") == 1
    assert value(metrics, "probe_failures_total", **labels, reason="timeout") == 0
    assert value(metrics, "probe_duration_seconds_count", **labels) == 2
    assert value(metrics, "probe_duration_seconds_sum", **labels) == pytest.approx(0.29)


def test_a_page_that_nobody_has_taken_shows_its_level() -> None:
    metrics = made()
    incident = views.rolled_back()["incident"]
    metrics.set_watch(views.watching(incident=incident | {"level": 3}))
    assert value(metrics, "incident_escalation_level", watch="w7f3k2") == 3
    metrics.set_watch(views.watching(incident=incident))
    assert value(metrics, "incident_escalation_level", watch="w7f3k2") == 1
    metrics.set_watch(views.watching(incident=incident | {"acknowledged_at": views.at(1)}))
    assert value(metrics, "incident_escalation_level", watch="w7f3k2") == 0


def test_a_split_that_becomes_known_later_replaces_the_info_series() -> None:
    metrics = made()
    metrics.set_watch(views.watching(previous={}))
    metrics.set_watch(views.watching(previous={"a": 90, "b": 10}))

    assert text(metrics).count("watchdog_watch_info{") == 1
    assert 'previous="a=90,b=10"' in text(metrics)


@pytest.mark.parametrize("end", ["forgotten", "ended"])
def test_an_ended_watch_leaves_no_series_and_the_others_stay(end: str) -> None:
    metrics = busy()
    if end == "forgotten":
        metrics.forget_watch("w7f3k2")
        metrics.forget_watch("w7f3k2")
    else:
        metrics.set_watch(views.rolled_back(id="w7f3k2"))

    assert "w7f3k2" not in text(metrics)
    assert value(metrics, "watch_state", watch="other", state="watching") == 1
    metrics.set_watch(views.watching())
    assert value(metrics, "probe_results_total", watch="w7f3k2", check="health", result="passed") == 84


@pytest.mark.parametrize(
    "criterion, trigger",
    [("health_check failing", "health_check"), ("probe.health failing", "health_check"),
     ("error_rate > 5%", "error_rate"), ("signal:database_corruption", "signal"), ("operator", "operator"),
     ("", "operator")],
)  # fmt: skip
def test_rollback_triggers_come_from_a_small_set(criterion: str, trigger: str) -> None:
    assert rollback_trigger(criterion) == trigger
