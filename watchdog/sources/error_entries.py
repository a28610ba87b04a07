"""Which log entries the source `error_log` asks for, and what one says: its message and its stack trace."""

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from watchdog.core.model import ServiceKey
from watchdog.sources.log_fingerprint import MOST_CHARS
from watchdog.sources.monitoring_messages import quoted

REQUESTS: Final = "run.googleapis.com/requests"
_MESSAGES: Final = ("message", "msg", "error", "event", "textPayload", "detail")
_TRACES: Final = ("stack_trace", "stack", "stacktrace", "exception", "exc_info", "traceback")


class ErrorEntry(NamedTuple):
    """One entry of severity ERROR or above."""

    identity: int
    """The same for the same entry read again."""
    revision: str
    at: float
    message: str
    trace: str


def error_filter(service: ServiceKey, since: float, *, until: float | None = None, but: str = "") -> str:
    """Selects what a service's containers and Cloud Run itself logged as errors; the request log has rows of its own.
    `but` leaves out a revision."""
    parts = [*_of(service), "severity>=ERROR", f'NOT log_id("{REQUESTS}")', f'timestamp>="{stamp(since)}"']
    if until is not None:
        parts.append(f'timestamp<"{stamp(until)}"')
    if but:
        parts.append(f"resource.labels.revision_name!={quoted(but)}")
    return " AND ".join(parts)


def _of(service: ServiceKey) -> list[str]:
    return [
        'resource.type="cloud_run_revision"',
        f"resource.labels.service_name={quoted(service.name)}",
        f"resource.labels.location={quoted(service.region)}",
    ]


def stamp(at: float) -> str:
    """Unix seconds as a filter writes them."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_error(entry: Any) -> ErrorEntry | None:
    """A `LogEntry`; None for what no revision said (audit entries tell of deploys, not of the code)."""
    revision = entry.resource.labels.get("revision_name", "")
    kind = entry.WhichOneof("payload")
    if not revision or kind not in {"text_payload", "json_payload"}:
        return None
    message, trace = (entry.text_payload, "") if kind == "text_payload" else _structured(entry.json_payload.fields)
    at = float(entry.timestamp.seconds) + float(entry.timestamp.nanos) * 1e-9
    identity = hash((entry.insert_id, entry.timestamp.seconds, entry.timestamp.nanos))
    return ErrorEntry(identity, revision, at, message[:MOST_CHARS], trace[:MOST_CHARS])


def _structured(fields: Any) -> tuple[str, str]:
    """(message, stack trace) of a structured entry, whatever the team's logger calls them."""
    message = next((text for name in _MESSAGES if (text := _text(fields, name))), "")
    trace = next((text for name in _TRACES if (text := _text(fields, name))), "")
    inner = fields["error"].struct_value.fields if "error" in fields else {}
    message = message or next((text for name in _MESSAGES if (text := _text(inner, name))), "")
    trace = trace or next((text for name in _TRACES if (text := _text(inner, name))), "")
    return message or (trace or "an entry without a message"), trace


def _text(fields: Any, name: str) -> str:
    found = fields.get(name)
    return found.string_value if found is not None and found.WhichOneof("kind") == "string_value" else ""
