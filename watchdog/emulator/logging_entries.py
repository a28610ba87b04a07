"""One request as Cloud Run's request log writes it: a `google.logging.v2.LogEntry`.

The shape is that of a published real entry (github.com/prashanth0686/amilia, index.js: a 502 after 60.369159188 s).
There `timestamp` is when the request *arrived*, and `receiveTimestamp` is 5 ms after timestamp + latency.
"""

from datetime import UTC, datetime
from typing import Any

from google.cloud.logging_v2 import types
from google.logging.type import log_severity_pb2 as severity

from watchdog.emulator.ledger import Request
from watchdog.emulator.logging_calls import LOG_ID as CALLS_LOG_ID
from watchdog.emulator.logging_calls import CallLine, Line
from watchdog.emulator.logging_filter import Fields, log_name

LOG_ID = "run.googleapis.com/requests"
RESOURCE_TYPE = "cloud_run_revision"
NO_INSTANCE = (
    "The request was aborted because there was no available instance. Additional troubleshooting documentation can be "
    "found at: https://cloud.google.com/run/docs/troubleshooting#abort-request"
)
INGESTED_AFTER_S = 0.005

_LogEntry: Any = types.LogEntry.pb()


def severity_of(status: int) -> str:
    """INFO below 400, WARNING below 500, ERROR from there on."""
    if status >= 500:
        return "ERROR"
    return "WARNING" if status >= 400 else "INFO"


def fields_of(line: Line) -> Fields:
    """What a filter can ask about."""
    if isinstance(line, CallLine):
        return {
            "timestamp": datetime.fromtimestamp(line.ended_at, UTC).isoformat(),
            "logName": log_name(line.project, CALLS_LOG_ID),
            "severity": "DEFAULT",
            "insertId": _call_id(line),
            "resource.type": RESOURCE_TYPE,
            **{f"resource.labels.{key}": value for key, value in _labels(line.request).items()},
            **{f"jsonPayload.{key}": str(value) for key, value in line.payload.items()},
        }
    request = line
    return {
        "timestamp": datetime.fromtimestamp(request.ended_at - request.latency_s, UTC).isoformat(),
        "logName": log_name(request.project, LOG_ID),
        "severity": severity_of(request.status),
        "insertId": request.insert_id,
        "resource.type": RESOURCE_TYPE,
        **{f"resource.labels.{key}": value for key, value in _labels(request).items()},
        "httpRequest.status": str(request.status),
        "httpRequest.requestMethod": request.method,
        "httpRequest.requestUrl": request.url,
        "httpRequest.userAgent": request.user_agent,
        "httpRequest.remoteIp": request.remote_ip,
    }


def _call_id(line: CallLine) -> str:
    return f"{line.request.insert_id}-call"


def render(line: Line) -> Any:
    """The entry as protobuf."""
    entry = _LogEntry()
    if isinstance(line, CallLine):
        entry.log_name = log_name(line.project, CALLS_LOG_ID)
        entry.resource.type = RESOURCE_TYPE
        entry.resource.labels.update(_labels(line.request))
        entry.insert_id = _call_id(line)
        entry.timestamp.FromMicroseconds(round(line.ended_at * 1e6))
        entry.receive_timestamp.FromMicroseconds(round((line.ended_at + INGESTED_AFTER_S) * 1e6))
        entry.json_payload.update(line.payload)
        return entry
    request = line
    entry.log_name = log_name(request.project, LOG_ID)
    entry.resource.type = RESOURCE_TYPE
    entry.resource.labels.update(_labels(request))
    entry.labels["instanceId"] = f"emulated-{request.revision}"
    entry.severity = severity.LogSeverity.Value(severity_of(request.status))
    entry.insert_id = request.insert_id
    entry.trace = f"projects/{request.project}/traces/{request.insert_id:0>32}"
    entry.span_id = f"{request.insert_id:0>16}"[-16:]
    entry.timestamp.FromMicroseconds(round((request.ended_at - request.latency_s) * 1e6))
    entry.receive_timestamp.FromMicroseconds(round((request.ended_at + INGESTED_AFTER_S) * 1e6))
    http = entry.http_request
    http.request_method = request.method
    http.request_url = request.url
    http.status = request.status
    http.response_size = request.size_bytes
    http.user_agent = request.user_agent
    http.remote_ip = request.remote_ip
    http.latency.FromMicroseconds(round(request.latency_s * 1e6))
    http.protocol = "HTTP/1.1"
    if request.turned_away:
        entry.text_payload = NO_INSTANCE
    return entry


def _labels(request: Request) -> dict[str, str]:
    return {
        "project_id": request.project,
        "location": request.region,
        "service_name": request.service,
        "revision_name": request.revision,
        "configuration_name": request.service,
    }
