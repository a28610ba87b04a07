"""Cloud Logging's `ListLogEntries` over the requests and the containers' lines of the emulated world.

`order_by` is `timestamp asc` (the default) or `timestamp desc`; a page token is the offset of the next entry, and is
refused with another filter or order, as at Google.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from google.cloud.logging_v2 import types
from google.logging.type import log_severity_pb2 as severities

from watchdog.emulator.app_log import AppLog, Line
from watchdog.emulator.ledger import Ledger
from watchdog.emulator.logging_calls import lines_of
from watchdog.emulator.logging_entries import RESOURCE_TYPE, fields_of, render
from watchdog.emulator.logging_filter import Fields, Filter, log_name

PAGE = 50
MOST = 1000

_LogEntry: Any = types.LogEntry.pb()
_Response: Any = types.ListLogEntriesResponse.pb()


class BadListError(ValueError):
    """The request is refused; the message is the one that goes to the client."""


def listed(  # noqa: PLR0913 - what is read, and what decides of it
    request: Any,
    projects: frozenset[str],
    selects: Filter,
    *,
    ledger: Ledger,
    lines: AppLog,
    now: float,
    delay_s: float,
    excluded: Callable[[Fields], bool],
    twice: Callable[[], bool],
) -> Any:
    """The response. Raises `BadListError`."""
    order = request.order_by or "timestamp asc"
    if order not in {"timestamp asc", "timestamp desc"}:
        raise BadListError(f"Invalid order_by '{order}'.")
    if request.page_size < 0:
        raise BadListError("page_size must not be negative.")
    found: list[tuple[float, str, Any]] = []
    begin = _begin(request.filter)
    for served in ledger.between(begin, now - delay_s):
        for one in lines_of(served) if served.project in projects else ():
            fields = fields_of(one)
            if selects(fields) and not excluded(fields):
                found.append((one.ended_at - one.latency_s, served.insert_id, lambda one=one: render(one)))
    for line in lines.lines(now - delay_s):
        if line.at < begin:
            continue
        fields = line_fields(line)
        if line.project in projects and selects(fields) and not excluded(fields):
            found.append((line.at, line.insert_id, lambda line=line: render_line(line)))
            if twice():
                found.append(found[-1])
    found.sort(key=lambda entry: entry[:2], reverse=order.endswith("desc"))
    digest = hashlib.blake2b(f"{request.filter}|{order}".encode(), digest_size=6).hexdigest()
    start = _offset(request.page_token, digest)
    size = min(request.page_size or PAGE, MOST)
    response = _Response()
    response.entries.extend(make() for _, _, make in found[start : start + size])
    if start + size < len(found):
        response.next_page_token = f"{digest}.{start + size}"
    return response


def _begin(text: str) -> float:
    """Nothing before this moment is selected, as far as the filter says it outright: saves looking at a whole day."""
    found = re.search(r'(?<!NOT )timestamp\s*>=\s*"([^"]+)"', text)
    if found is None or " OR " in text:
        return 0.0
    return datetime.fromisoformat(found[1]).timestamp()


def _offset(token: str, digest: str) -> int:
    if not token:
        return 0
    owner, _, offset = token.partition(".")
    if owner != digest or not offset.isdecimal():
        raise BadListError("page_token doesn't match arguments from the request.")
    return int(offset)


def line_fields(line: Line) -> Fields:
    """What a filter can ask about a container's line."""
    labels = {f"resource.labels.{key}": value for key, value in _labels(line).items()}
    return {
        "logName": log_name(line.project, line.log_id),
        "severity": line.severity,
        "insertId": line.insert_id,
        "timestamp": datetime.fromtimestamp(line.at, UTC).isoformat(),
        "resource.type": RESOURCE_TYPE,
        **labels,
    }


def render_line(line: Line) -> Any:
    """The line as protobuf."""
    entry = _LogEntry()
    entry.log_name = log_name(line.project, line.log_id)
    entry.resource.type = RESOURCE_TYPE
    entry.resource.labels.update(_labels(line))
    entry.severity = severities.LogSeverity.Value(line.severity)
    entry.insert_id = line.insert_id
    entry.timestamp.FromMicroseconds(round(line.at * 1e6))
    entry.receive_timestamp.FromMicroseconds(round(line.visible_at * 1e6))
    if line.trace:
        entry.json_payload.update({"message": line.text, "stack_trace": line.trace})
    else:
        entry.text_payload = line.text
    return entry


def _labels(line: Line) -> dict[str, str]:
    return {
        "project_id": line.project,
        "location": line.region,
        "service_name": line.service,
        "revision_name": line.revision,
        "configuration_name": line.service,
    }


def projects_of(names: Sequence[str], of: Callable[[str], str]) -> frozenset[str]:
    """The projects that a request names. Raises `BadListError` when it names none."""
    found = frozenset(of(name) for name in names)
    if not found:
        raise BadListError("At least one resource name must be specified.")
    return found
