"""PagerDuty's Events API v2 and the incidents that it would open, acknowledge and resolve.

From developer.pagerduty.com/docs/events-api-v2: which fields are required and how long they may be; an event with a
`dedup_key` that is open joins it; a trigger after a resolve opens a new incident; an acknowledge or a resolve without
an open incident is accepted and dropped; a trigger on an acknowledged incident leaves it acknowledged. Keys are per
routing key: the same `dedup_key` under another one is another incident. The wording of the two commonest errors is what
prometheus/alertmanager's tests and SigNoz issue 9536 quote.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

MOST_BYTES = 512 * 1024
MOST_SUMMARY = 1024
MOST_DEDUP_KEY = 255
ROUTING_KEY_LENGTH = 32
KEEP_INCIDENTS = 5_000
SEVERITIES = ("critical", "warning", "error", "info")
ACTIONS = ("trigger", "acknowledge", "resolve")


@dataclass(slots=True, kw_only=True)
class Incident:
    """One incident; times are Unix seconds."""

    number: int
    routing_key: str
    dedup_key: str
    summary: str
    source: str
    severity: str
    opened_at: float
    status: str = "triggered"
    """`triggered`, `acknowledged` or `resolved`."""
    acknowledged_at: float | None = None
    resolved_at: float | None = None
    last_payload: dict[str, Any] = field(default_factory=dict)
    """Of the newest trigger."""
    log: list[dict[str, Any]] = field(default_factory=list)
    """Every event that reached it: `at`, `event_action`, `summary`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request is answered with; `note` is for the reader of the collector."""

    status: int
    body: dict[str, Any]
    note: str = ""

    @property
    def accepted(self) -> bool:
        """Whether PagerDuty took the event in, dropped or not."""
        return self.status < 300


class PagerDutyAccount:
    """Incidents and change events by routing key."""

    def __init__(self) -> None:
        self.unknown_routing_keys: set[str] = set()
        """Keys of the right length that belong to no integration."""
        self._incidents: list[Incident] = []
        self._changes: list[dict[str, Any]] = []
        self._number = 0

    def incidents(self) -> list[dict[str, Any]]:
        """Every incident, oldest first."""
        return [asdict(incident) for incident in self._incidents]

    def changes(self) -> list[dict[str, Any]]:
        """Every change event, oldest first, with `at`."""
        return list(self._changes)

    def clear(self) -> None:
        """Forget incidents and changes."""
        self._incidents.clear()
        self._changes.clear()

    def enqueue(self, body: bytes, *, now: float) -> Answer:
        """`POST /v2/enqueue`."""
        event, errors = self._read(body)
        action = event.get("event_action")
        key = event.get("dedup_key") or ""
        if not errors:
            errors = [*_check_event(event, action, key)]
        if errors:
            return _invalid(errors)
        note = ""
        if action == "trigger":
            key = key or f"{self._number + 1:032x}"
            self._trigger(event, str(key), now)
        elif not self._close(event, str(action), str(key), now):
            note = "dropped: no open incident with this dedup_key under this routing_key"
        body_out = {"status": "success", "message": "Event processed", "dedup_key": key}
        return Answer(status=202, body=body_out, note=note)

    def change(self, body: bytes, *, now: float) -> Answer:
        """`POST /v2/change/enqueue`."""
        event, errors = self._read(body)
        if not errors:
            errors = [*_check_summary(_payload(event)), *_check_timestamp(_payload(event))]
        if errors:
            return _invalid(errors)
        self._changes.append({"at": now, **event})
        del self._changes[:-KEEP_INCIDENTS]
        return Answer(status=202, body={"status": "success", "message": "Change event processed"})

    def _read(self, body: bytes) -> tuple[dict[str, Any], list[str]]:
        if len(body) > MOST_BYTES:
            return {}, [f"Event size is {len(body)} bytes, the maximum is {MOST_BYTES} bytes (512 KB)"]
        try:
            event = json.loads(body)
        except ValueError:
            return {}, ["JSON cannot be parsed"]
        if not isinstance(event, dict):
            return {}, ["Event must be a JSON object"]
        key = event.get("routing_key")
        if not isinstance(key, str) or not key:
            return event, ["'routing_key' is missing or blank"]
        if len(key) != ROUTING_KEY_LENGTH:
            return event, ["Length of 'routing_key' is incorrect (should be 32 characters)"]
        if key in self.unknown_routing_keys:
            return event, ["Invalid routing key"]
        return event, []

    def _open(self, routing_key: str, dedup_key: str) -> Incident | None:
        for incident in reversed(self._incidents):
            if incident.routing_key == routing_key and incident.dedup_key == dedup_key:
                return incident if incident.status != "resolved" else None
        return None

    def _trigger(self, event: Mapping[str, Any], key: str, now: float) -> None:
        payload = _payload(event)
        incident = self._open(event["routing_key"], key)
        if incident is None:
            self._number += 1
            incident = Incident(
                number=self._number,
                routing_key=event["routing_key"],
                dedup_key=key,
                summary=payload["summary"],
                source=payload["source"],
                severity=payload["severity"],
                opened_at=now,
            )
            self._incidents.append(incident)
            del self._incidents[:-KEEP_INCIDENTS]
        incident.last_payload = dict(payload)
        incident.severity = payload["severity"]
        incident.log.append({"at": now, "event_action": "trigger", "summary": payload["summary"]})

    def _close(self, event: Mapping[str, Any], action: str, key: str, now: float) -> bool:
        incident = self._open(event["routing_key"], key)
        if incident is None:
            return False
        incident.log.append({"at": now, "event_action": action, "summary": _payload(event).get("summary", "")})
        if action == "resolve":
            incident.status, incident.resolved_at = "resolved", now
        elif incident.status == "triggered":
            incident.status, incident.acknowledged_at = "acknowledged", now
        return True


def _check_event(event: Mapping[str, Any], action: object, key: object) -> list[str]:
    errors = []
    if action not in ACTIONS:
        errors.append(
            "'event_action' is missing or blank"
            if not action
            else "'event_action' is invalid (must be one of the following: 'trigger', 'acknowledge' or 'resolve')"
        )
    if not isinstance(key, str):
        errors.append("'dedup_key' is invalid (must be a string)")
    elif len(key) > MOST_DEDUP_KEY:
        errors.append("Length of 'dedup_key' is incorrect (should be at most 255 characters)")
    elif not key and action in {"acknowledge", "resolve"}:
        errors.append("'dedup_key' is missing or blank")
    if action == "trigger":
        payload = _payload(event)
        errors += _check_summary(payload)
        if not payload.get("source") or not isinstance(payload["source"], str):
            errors.append("'payload.source' is missing or blank")
        if not payload.get("severity"):
            errors.append("'payload.severity' is missing or blank")
        elif payload["severity"] not in SEVERITIES:
            errors.append(
                "'payload.severity' is invalid (must be one of the following: 'critical', 'warning', 'error' or 'info')"
            )
        errors += _check_timestamp(payload)
    return errors


def _check_summary(payload: Mapping[str, Any]) -> list[str]:
    summary = payload.get("summary")
    if not isinstance(summary, str) or not summary.strip():
        return ["'payload.summary' is missing or blank"]
    if len(summary) > MOST_SUMMARY:
        return [f"Length of 'payload.summary' is incorrect (should be at most {MOST_SUMMARY} characters)"]
    return []


def _check_timestamp(payload: Mapping[str, Any]) -> list[str]:
    timestamp = payload.get("timestamp")
    if timestamp is None:
        return []
    try:
        datetime.fromisoformat(str(timestamp))
    except ValueError:
        return ["'payload.timestamp' is invalid (must be an ISO 8601 timestamp)"]
    return []


def _payload(event: Mapping[str, Any]) -> Mapping[str, Any]:
    payload = event.get("payload")
    return payload if isinstance(payload, Mapping) else {}


def _invalid(errors: list[str]) -> Answer:
    body = {"status": "invalid event", "message": "Event object is invalid", "errors": errors}
    return Answer(status=400, body=body, note="; ".join(errors))
