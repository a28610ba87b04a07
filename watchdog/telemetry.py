"""What Watchdog says about itself: structured logs, and metric objects that a scrape only reads.

`configure_logging` is called once by the process that runs. `Metrics` owns a registry of its own, so that two daemons
in one process (tests, the demo) never share a series. Names and labels are a contract with dashboards and alert rules.
"""

import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import prometheus_client
import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.metrics import MetricWrapperBase

from watchdog.core.model import State
from watchdog.core.probing import ProbeAnswer

# --- logs ----------------------------------------------------------------------------------------------------------

HIDDEN: Final = "[redacted]"
_SECRET_KEY = re.compile(
    r"token|secret|passw|authori[sz]ation|cookie|credential|(?:routing|api|signing|private)_?keys?$|webhook_url|dsn",
    re.IGNORECASE,
)
_SECRET_TEXT = (
    re.compile(r"(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}"),
    re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)"),  # a password inside a URL
    re.compile(r"(https?://hooks\.slack\.com/)\S+"),
    re.compile(r"()\bxox[a-z]-[A-Za-z0-9-]+"),
    re.compile(r"(?i)([?&](?:token|key|secret|password|access_token|signature)=)[^&\s]+"),
)


class Redactor:
    """A structlog processor that hides secrets: by key, by shape, and the given ones wherever they stand."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # A secret of a few characters would blank out ordinary words.
        self._secrets = sorted({s for s in secrets if len(s) >= 6}, key=len, reverse=True)

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Return the event with every secret replaced."""
        return {key: self._value(key, value) for key, value in event.items()}

    def text(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        for pattern in _SECRET_TEXT:
            text = pattern.sub(rf"\g<1>{HIDDEN}", text)
        return text

    def _value(self, key: str, value: Any) -> Any:
        if key.startswith("_"):  # structlog's own baggage (the stdlib record)
            return value
        if _SECRET_KEY.search(key) and value not in (None, "") and not isinstance(value, bool):
            return HIDDEN
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {k: self._value(str(k), v) for k, v in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value("", v) for v in value]
        if isinstance(value, BaseException):
            return self.text(f"{type(value).__name__}: {value}")
        return value


def configure_logging(
    json: bool | None = None,  # noqa: FBT001 - one obvious switch
    *,
    level: int = logging.INFO,
    secrets: Iterable[str] = (),
    now: Callable[[], float] | None = None,
    stream: TextIO | None = None,
) -> None:
    """Send structured logs to `stream` (standard error, since standard output belongs to the verbs).

    `json` None means JSON unless the stream is a terminal. Lines carry `time` (ISO 8601, UTC; from `now`, in Unix
    seconds, where given), `level`, `severity` (Cloud Logging's word for it), `event` and the bound context. Log records
    of libraries join at WARNING and above. Secrets are hidden by key, by shape, and the given ones everywhere.
    """
    out = stream if stream is not None else sys.stderr
    as_json = not out.isatty() if json is None else json
    redact = Redactor(secrets)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time") if now is None else _Stamp(now),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,  # text without local variables: those hold secrets
        redact,
    ]
    render: list[Any]
    if as_json:
        render = [_add_severity, structlog.processors.JSONRenderer(default=str, ensure_ascii=False)]
    else:
        render = [structlog.dev.ConsoleRenderer(colors=out.isatty(), timestamp_key="time")]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact, *render],
        )
    )
    root = logging.getLogger()
    for old in [h for h in root.handlers if getattr(h, "watchdog", False)]:
        root.removeHandler(old)
    handler.watchdog = True  # type: ignore[attr-defined]  # so that a second call replaces ours and no one else's
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


class _Stamp:
    """Stamps lines by the injected clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        moment = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds")
        event["time"] = moment.replace("+00:00", "Z")
        return event


def _add_severity(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["severity"] = str(event.get("level", "info")).upper()
    return event


# --- metrics ------------------------------------------------------------------------------------------------------

PROBE_RESULTS: Final = ("passed", "failed", "missing")
ROLLBACK_RESULTS: Final = ("done", "refused", "failed", "observed")
ROLLBACK_TRIGGERS: Final = ("health_check", "error_rate", "signal", "region", "operator")
"""Triggers whose series exist from the start; the others are the metrics whose rows decided (`rollback_trigger`)."""
NOTIFICATION_RESULTS: Final = ("delivered", "retried", "dead")
CHECK_STATES: Final = ("passing", "failing", "missing", "unknown")
PROBE_REASONS: Final = (
    "dns", "refused", "connect", "tls", "timeout", "reset", "protocol", "redirect", "status", "json", "body",
    "too_large", "auth", "access", "prober",
)  # fmt: skip
NOTIFICATION_KINDS: Final = (
    "opened", "window", "warning", "warning_cleared", "decision", "held", "approval", "rolled_back",
    "rollback_failed", "not_recovered", "recovered", "passed", "unverified", "superseded", "overridden", "blind",
    "promoted", "observed", "note", "test",
)  # fmt: skip

_LATENESS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)
_PROBE_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
_QUERY_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ACK_S = (30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)


class Metrics:
    """The metric objects of one daemon. Everybody writes here when something happens; a scrape only reads.

    `services`, `channels` and `sources` are the known label values, whose series exist at 0 from the start.
    """

    def __init__(
        self,
        *,
        version: str,
        services: Iterable[str] = (),
        channels: Iterable[str] = (),
        sources: Iterable[str] = (),
    ) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series a counter, for nobody
        registry = self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"watchdog_{name}", text, labels, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"watchdog_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
            return Histogram(f"watchdog_{name}", text, labels, registry=registry, buckets=buckets)

        self.build_info = gauge("build_info", "Always 1; the version that runs.", "version")
        self.leader = gauge("leader", "1 while this process holds at least one lease, 0 on standby.")
        self.store_up = gauge("store_up", "1 while the store answers.")
        self.scheduler_lateness_seconds = histogram(
            "scheduler_lateness_seconds", "How late a probe or deadline started.", _LATENESS_S
        )
        self.scheduler_missed_slots_total = counter(
            "scheduler_missed_slots_total", "Probe slots that were skipped since the loop was late."
        )

        self.watch_info = gauge(
            "watch_info", "Always 1; what a watch watches.", "watch", "service", "region", "revision", "previous"
        )
        self.watch_state = gauge("watch_state", "1 for the state the watch is in, 0 for the others.", "watch", "state")
        self.watch_started_timestamp_seconds = gauge(
            "watch_started_timestamp_seconds", "When the watched revision began to serve.", "watch"
        )
        self.watch_ends_timestamp_seconds = gauge("watch_ends_timestamp_seconds", "When the watch will end.", "watch")
        self.watch_last_evaluation_timestamp_seconds = gauge(
            "watch_last_evaluation_timestamp_seconds", "When the evidence was last judged.", "watch"
        )
        self.watch_coverage_ratio = gauge(
            "watch_coverage_ratio", "Share of the window's watched time for which evidence arrived.", "watch", "window"
        )
        self.evaluation_interval_seconds = gauge(
            "evaluation_interval_seconds", "How often the evidence is to be judged at least, now.", "watch"
        )

        self.probe_results_total = counter(
            "probe_results_total", "Regular probes by result.", "watch", "check", "result"
        )
        self.probe_failures_total = counter(
            "probe_failures_total", "Probes that failed or are missing, by typed reason.", "watch", "check", "reason"
        )
        self.probe_duration_seconds = histogram(
            "probe_duration_seconds", "Time of a probe that was answered or failed.", _PROBE_S, "watch", "check"
        )
        self.check_state = gauge("check_state", "1 for the state the check is in.", "watch", "check", "state")
        self.criterion_value = gauge(
            "criterion_value", "What the row's metric says now, base unit.", "watch", "criterion"
        )
        self.criterion_threshold = gauge("criterion_threshold", "The row's limit, base unit.", "watch", "criterion")
        self.criterion_evidence_ratio = gauge(
            "criterion_evidence_ratio", "How much of the proof that an alarm needs has gathered.", "watch", "criterion"
        )
        self.tls_certificate_expiry_timestamp_seconds = gauge(
            "tls_certificate_expiry_timestamp_seconds", "When the certificate of a probed host expires.", "host"
        )

        self.source_query_duration_seconds = histogram(
            "source_query_duration_seconds", "Time of a query to a source.", _QUERY_S, "source"
        )
        self.source_query_errors_total = counter("source_query_errors_total", "Queries that failed.", "source")
        self.source_newest_sample_timestamp_seconds = gauge(
            "source_newest_sample_timestamp_seconds", "End of the newest sample that a source gave.", "source"
        )

        self.rollbacks_total = counter(
            "rollbacks_total", "Rollbacks by what triggered them and how they went.", "service", "trigger", "result"
        )
        self.notifications_total = counter(
            "notifications_total", "Messages by channel, kind and result.", "channel", "kind", "result"
        )
        self.notification_oldest_pending_seconds = gauge(
            "notification_oldest_pending_seconds", "Age of the oldest message that waits; 0 with none.", "channel"
        )
        self.incident_escalation_level = gauge(
            "incident_escalation_level", "0 without an unacknowledged incident, else the level paged.", "watch"
        )
        self.incident_ack_seconds = histogram(
            "incident_ack_seconds", "From the page to the first acknowledgement.", _ACK_S
        )

        self._of_watch: Sequence[MetricWrapperBase] = (
            self.watch_info, self.watch_state, self.watch_started_timestamp_seconds, self.watch_ends_timestamp_seconds,
            self.watch_last_evaluation_timestamp_seconds, self.watch_coverage_ratio, self.evaluation_interval_seconds,
            self.probe_results_total, self.probe_failures_total, self.probe_duration_seconds, self.check_state,
            self.criterion_value, self.criterion_threshold, self.criterion_evidence_ratio,
            self.incident_escalation_level,
        )  # fmt: skip
        self._counted: dict[tuple[str, str], dict[str, float]] = {}

        self.build_info.labels(version).set(1)
        for service in services:
            for trigger in ROLLBACK_TRIGGERS:
                for result in ROLLBACK_RESULTS:
                    self.rollbacks_total.labels(service, trigger, result)
        for channel in channels:
            self.notification_oldest_pending_seconds.labels(channel)
            for kind in NOTIFICATION_KINDS:
                for result in NOTIFICATION_RESULTS:
                    self.notifications_total.labels(channel, kind, result)
        for source in sources:
            self.source_query_duration_seconds.labels(source)
            self.source_query_errors_total.labels(source)

    def set_watch(self, view: Mapping[str, Any], *, evaluation_interval_s: float | None = None) -> None:
        """Bring every series of a watch up to its read model (`WatchRow.view`); those of an ended one go away.

        Probe results are counted here, as differences between views, so they agree with the page and survive a restart.
        """
        watch = str(view["id"])
        if view.get("state") == State.ENDED:
            self.forget_watch(watch)
            return
        self._set_header(watch, view)
        _set(self.evaluation_interval_seconds, evaluation_interval_s or view.get("evaluation_interval_s"), watch)
        for window, ratio in (view.get("coverage") or {}).items():
            _set(self.watch_coverage_ratio, ratio, watch, window)
        for row in view.get("criteria") or ():
            _set(self.criterion_value, row.get("value"), watch, row["id"])
            _set(self.criterion_threshold, row.get("threshold"), watch, row["id"])
            _set(self.criterion_evidence_ratio, row.get("fullness"), watch, row["id"])
        for probe in view.get("probes") or ():
            self._set_probe(watch, probe)

    def observe_probe(self, watch_id: str, check: str, answer: ProbeAnswer) -> None:
        """Count a regular probe's reason and time. Its result is counted by `set_watch`."""
        if answer.reason:
            self.probe_failures_total.labels(watch_id, check, answer.reason).inc()
        self.probe_duration_seconds.labels(watch_id, check).observe(max(0.0, answer.ended_at - answer.started_at))

    def forget_watch(self, watch_id: str) -> None:
        """Remove every series of an ended watch. Unknown ids are no error."""
        for metric in self._of_watch:
            metric.remove_by_labels({"watch": watch_id})
        for key in [k for k in self._counted if k[0] == watch_id]:
            del self._counted[key]

    def _set_header(self, watch: str, view: Mapping[str, Any]) -> None:
        previous = ",".join(f"{r}={p}" for r, p in (view.get("previous") or {}).items())
        labels = (watch, str(view["service"]), str(view["region"]), str(view["revision"]), previous)
        self.watch_info.remove_by_labels({"watch": watch})  # a notice may name the split after discovery opened it
        self.watch_info.labels(*labels).set(1)
        for state in State:
            self.watch_state.labels(watch, state.value).set(1 if view.get("state") == state else 0)
        started = view.get("cutover_at") or view.get("opened_at")
        _set(self.watch_started_timestamp_seconds, _unix(started), watch)
        _set(self.watch_ends_timestamp_seconds, _unix(view.get("ends_at")), watch)
        _set(self.watch_last_evaluation_timestamp_seconds, _unix(view.get("last_evaluation_at")), watch)
        incident = view.get("incident") or {}
        alone = incident.get("opened_at") and not (incident.get("acknowledged_at") or incident.get("resolved_at"))
        self.incident_escalation_level.labels(watch).set(incident.get("level") or 1 if alone else 0)

    def _set_probe(self, watch: str, probe: Mapping[str, Any]) -> None:
        name = str(probe["name"])
        for state in CHECK_STATES:
            self.check_state.labels(watch, name, state).set(1 if probe.get("state") == state else 0)
        seen = self._counted.get((watch, name))
        if seen is None:
            seen = self._counted[watch, name] = dict.fromkeys(PROBE_RESULTS, 0.0)
            self.probe_duration_seconds.labels(watch, name)
            for reason in PROBE_REASONS:
                self.probe_failures_total.labels(watch, name, reason)
        for result in PROBE_RESULTS:
            total = float(probe.get(result) or 0)
            self.probe_results_total.labels(watch, name, result).inc(max(0.0, total - seen[result]))
            seen[result] = max(total, seen[result])


def rollback_trigger(criterion: str) -> str:
    """The `trigger` label for what proved it: `health_check`, `signal`, `region`, `operator` or a metric's name.

    Row labels hold thresholds and signals hold free names; a label value must come from a small, known set.
    """
    name = criterion.partition(":")[0].split(maxsplit=1)[0] if criterion.strip() else "operator"
    return "health_check" if name.startswith("probe.") else name


def _set(gauge: Gauge, value: float | None, *labels: str) -> None:
    """Set the series, or remove it when there is no value: absence is not zero."""
    if value is None:
        gauge.remove(*labels)
    else:
        gauge.labels(*labels).set(value)


def _unix(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None
