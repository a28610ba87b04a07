"""What is sent to Cloud Logging and what comes back, as plain values: the only module that knows its messages."""

from collections.abc import Iterable
from typing import Any, Final

from watchdog.core.model import ServiceKey
from watchdog.core.text import iso
from watchdog.sources import grpc_calls
from watchdog.sources.http_probe import PROBE_USER_AGENT_PREFIX
from watchdog.sources.monitoring_messages import quoted
from watchdog.sources.request_origins import Caller
from watchdog.sources.request_tally import Entry

REQUESTS: Final = 'log_id("run.googleapis.com/requests")'
BUFFER_S: Final = 1
"""How long the server holds entries back to put them in order: buckets need none, so less than its default of 2 s."""
NO_INSTANCE: Final = "no available instance"
"""In the text that Cloud Run adds to a request which it aborted by itself: "The request was aborted because there was
no available instance." (cloud.google.com/run/docs/troubleshooting)."""
LONGEST_FILTER: Final = 20_000
"""Characters (cloud.google.com/logging/quotas)."""


def tail_filter(services: Iterable[ServiceKey], share: float = 1.0, *, calls: bool = False) -> str:
    """Selects the request log of these services, and of it the share that `sample` picks by `insertId`; never less
    than all of our own probes, which show that the stream is alive.

    Services and regions are listed apart, so that a service of the same name in another watched region comes along.
    With `calls` the lines come as well in which applications tell of their gRPC calls. Where the names would make the
    filter too long, every service of the regions comes.
    """
    wanted = tuple(services)
    logs = f"({REQUESTS} OR {grpc_calls.FILTER})" if calls else REQUESTS
    parts = ['resource.type="cloud_run_revision"', logs]
    names = _any_of("resource.labels.service_name", (s.name for s in wanted))
    parts.append(_any_of("resource.labels.location", (s.region for s in wanted)))
    if share < 1.0:
        parts.append(f'(sample(insertId, {share:.12g}) OR httpRequest.userAgent:"{PROBE_USER_AGENT_PREFIX}")')
    text = " AND ".join((*parts, names))
    return text if len(text) <= LONGEST_FILTER else " AND ".join(parts)


def past_filter(service: ServiceKey, revision: str, since: float, until: float, status: str = "") -> str:
    """Selects users' requests of one revision that arrived in `[since, until)` (Unix seconds); `status` narrows it
    down, for example `>=500`."""
    parts = [
        'resource.type="cloud_run_revision"',
        'log_id("run.googleapis.com/requests")',
        f"resource.labels.location={quoted(service.region)}",
        f"resource.labels.service_name={quoted(service.name)}",
        f"resource.labels.revision_name={quoted(revision)}",
        f'timestamp>="{iso(since)}"',
        f'timestamp<"{iso(until)}"',
        f'NOT httpRequest.userAgent:"{PROBE_USER_AGENT_PREFIX}"',
    ]
    return " AND ".join((*parts, *(f"httpRequest.status{s}" for s in status.split() if s)))


def _any_of(field: str, values: Iterable[str]) -> str:
    found = sorted(set(values))
    if len(found) == 1:
        return f"{field}={quoted(found[0])}"
    return f"{field}=({' OR '.join(quoted(value) for value in found)})"


def build_request(project: str, text: str) -> Any:
    """The one `TailLogEntriesRequest` of a session."""
    from google.cloud.logging_v2 import types  # noqa: PLC0415 - loaded with the client

    request: Any = types.TailLogEntriesRequest.pb()()
    request.resource_names.append(f"projects/{project}")
    request.filter = text
    request.buffer_window.FromSeconds(BUFFER_S)
    return request


def read_entry(message: Any, project: str) -> tuple[int, Entry] | None:
    """What tells an entry from its double, and the request; None for what is no request of a revision.

    Cloud Run stamps an entry with the request's arrival and logs it when it has ended, some milliseconds after
    timestamp plus latency (a published entry of 60.369159 s was received 60.374146 s after its timestamp). A request
    counts where it *ended*, as in Cloud Monitoring, and never later than Logging had it. Entries with one `insertId`
    and one timestamp are doubles (google/logging/v2/log_entry.proto).
    """
    labels, request = message.resource.labels, message.http_request
    revision = labels.get("revision_name", "")
    if revision and not message.HasField("http_request"):
        return _read_call(message, project, revision)
    if not revision:
        return None
    started = _seconds(message.timestamp)
    latency_s = _seconds(request.latency) if request.HasField("latency") else None
    ended_at = started + (latency_s or 0.0)
    if message.HasField("receive_timestamp"):
        ended_at = max(started, min(ended_at, _seconds(message.receive_timestamp)))
    entry = Entry(
        service=ServiceKey(project=project, region=labels.get("location", ""), name=labels.get("service_name", "")),
        revision=revision,
        ended_at=ended_at,
        status=request.status,
        latency_s=latency_s,
        own=request.user_agent.startswith(PROBE_USER_AGENT_PREFIX),
        refused=NO_INSTANCE in message.text_payload,
        caller=Caller(request.remote_ip, request.user_agent, request.request_method, request.request_url),
    )
    return hash((message.insert_id, message.timestamp.seconds, message.timestamp.nanos)), entry


def _read_call(message: Any, project: str, revision: str) -> tuple[int, Entry] | None:
    """The same of a line in which the application tells of a gRPC call."""
    code, labels = grpc_calls.code_of(message), message.resource.labels
    if code is None:
        return None
    entry = Entry(
        service=ServiceKey(project=project, region=labels.get("location", ""), name=labels.get("service_name", "")),
        revision=revision,
        ended_at=_seconds(message.timestamp),
        status=200,
        latency_s=None,
        own=False,
        call=code,
    )
    return hash((message.insert_id, message.timestamp.seconds, message.timestamp.nanos)), entry


def suppressed_count(message: Any) -> int:
    """How many entries the API left out of this response, for whatever reason."""
    return sum(info.suppressed_count for info in message.suppression_info)


def _seconds(moment: Any) -> float:
    return float(moment.seconds) + float(moment.nanos) * 1e-9
