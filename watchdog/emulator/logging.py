"""Cloud Logging v2 over plaintext gRPC: `TailLogEntries` on the request log of the emulator's own traffic, and
`ListLogEntries` on that and on what its containers wrote.

Every other method is UNIMPLEMENTED. As at Google a session takes one request, delivers only what arrives after it has
begun, ends after an hour, and a project has 10 sessions and 60,000 entries a minute
(cloud.google.com/logging/quotas); what is over the rate is left out and counted in `suppression_info`. The pip package
ships messages but no server stubs, so the handler is put together from the messages' own serialisers.
"""

import asyncio
import heapq
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.cloud.logging_v2 import types

from watchdog.emulator import clock
from watchdog.emulator.app_log import AppLog
from watchdog.emulator.ledger import Ledger, Request
from watchdog.emulator.logging_calls import Line, lines_of
from watchdog.emulator.logging_entries import fields_of, render
from watchdog.emulator.logging_faults import LoggingFault, LoggingFaultBook, LoggingFaultKind
from watchdog.emulator.logging_filter import Filter, InvalidFilterError, parse
from watchdog.emulator.logging_list import BadListError, listed, projects_of

SERVICE = "google.logging.v2.LoggingServiceV2"
MOST_SESSIONS = 10
ENTRIES_PER_MINUTE = 60_000
LONGEST_SESSION_S = 3600.0
LONGEST_FILTER = 20_000
BUFFER_S = 2.0
LONGEST_BUFFER_S = 60.0
PER_RESPONSE = 1000
"""Entries; what is due beyond that comes in further responses."""

_Request: Any = types.TailLogEntriesRequest.pb()
_Response: Any = types.TailLogEntriesResponse.pb()
_Code = grpc.StatusCode
_ENDS: dict[str, tuple[grpc.StatusCode, str]] = {
    "unavailable": (_Code.UNAVAILABLE, "The service is currently unavailable."),
    "permission_denied": (_Code.PERMISSION_DENIED, "Permission denied for all log views"),
    "resource_exhausted": (
        _Code.RESOURCE_EXHAUSTED,
        "Quota exceeded for quota metric 'Open live tailing sessions' of service 'logging.googleapis.com'.",
    ),
    "internal": (_Code.INTERNAL, "Internal error encountered."),
    "reset": (_Code.UNAVAILABLE, "Socket closed"),
    "expire": (
        _Code.OUT_OF_RANGE,
        "Session has run for the maximum allowed duration of 1h. To continue, start a new one.",
    ),
}


_LIST_ENDS: dict[str, tuple[grpc.StatusCode, str]] = {
    "permission_denied": (_Code.PERMISSION_DENIED, "Permission 'logging.logEntries.list' denied on resource."),
    "resource_exhausted": (
        _Code.RESOURCE_EXHAUSTED,
        "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute'.",
    ),
}


class RefusedError(Exception):
    """A call ends with this status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(slots=True, eq=False, kw_only=True)
class _Session:
    """One open tail."""

    projects: frozenset[str]
    selects: Filter
    buffer_s: float
    ends_at: float
    waiting: list[tuple[float, int, Line]] = field(default_factory=list)
    """A heap of (Unix second at which it is due, serial number, request)."""
    again: list[Line] = field(default_factory=list)
    """What the next response delivers a second time."""
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class LoggingServer:
    """The emulated API over the requests in `ledger`."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        lines: AppLog | None = None,
        delivery_delay_s: float = 2.0,
        entries_per_minute: int = ENTRIES_PER_MINUTE,
        longest_session_s: float = LONGEST_SESSION_S,
    ) -> None:
        """`delivery_delay_s`: from the end of a request, or from a container's line, until it can be read (by a session
        without a buffer window)."""
        if delivery_delay_s < 0 or entries_per_minute < 1 or longest_session_s <= 0:
            raise ValueError(
                "delivery_delay_s must not be negative, entries_per_minute and longest_session_s must be above 0"
            )
        self.delivery_delay_s = delivery_delay_s
        self.port: int | None = None
        self.calls: Counter[str] = Counter()
        """Sessions asked for, refused ones included."""
        self.delivered = 0
        self.filters: list[str] = []
        """Filters of the sessions that are open, oldest first."""
        self._entries_per_minute = entries_per_minute
        self._longest_session_s = longest_session_s
        self._faults = LoggingFaultBook()
        self._sessions: list[_Session] = []
        self._used: dict[str, tuple[int, int]] = {}
        self._serial = 0
        self._server: grpc.aio.Server | None = None
        self._ledger = ledger
        self.lines = lines or AppLog()
        self.lines.delay_s = self._faults.late_s
        ledger.subscribe(self._record)

    @property
    def sessions(self) -> int:
        """How many sessions are open."""
        return len(self._sessions)

    async def start(self, host: str, port: int) -> int:
        """Serve on `host:port` (0 takes a free one); returns the port. `RuntimeError` when the address is taken."""
        if self._server is not None:
            raise RuntimeError("this Cloud Logging emulator is already running")
        server = grpc.aio.server(
            # As Google's front ends do, take a client's keep-alive pings on a stream without traffic.
            options=(("grpc.so_reuseport", 0), ("grpc.http2.min_ping_interval_without_data_ms", 5000))
        )
        handler = grpc.stream_stream_rpc_method_handler(
            self._tail, request_deserializer=_Request.FromString, response_serializer=_Response.SerializeToString
        )
        lists = grpc.unary_unary_rpc_method_handler(
            self._list,
            request_deserializer=types.ListLogEntriesRequest.pb().FromString,
            response_serializer=types.ListLogEntriesResponse.pb().SerializeToString,
        )
        methods = {"TailLogEntries": handler, "ListLogEntries": lists}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        self.port = server.add_insecure_port(f"{host}:{port}")
        await server.start()
        self._server = server
        return self.port

    async def stop(self) -> None:
        """Cut every session and give the port back."""
        server, self._server, self.port = self._server, None, None
        if server is not None:
            await server.stop(None)

    def set_fault(self, kind: LoggingFaultKind, **options: Any) -> LoggingFault:
        """Put a fault in force; `options` are the fields of `LoggingFault`. `ValueError` when they don't fit."""
        fault = LoggingFault.model_validate({"kind": kind, **options})
        self._faults.add(fault, now=clock.now())
        for session in self._sessions:
            session.woken.set()
        return fault

    def clear_faults(self) -> None:
        """End every fault; entries that a `late` one holds back still come late."""
        self._faults.clear()

    def faults(self) -> list[LoggingFault]:
        """Faults in force, with the sessions and entries that are left to them."""
        return self._faults.active(clock.now())

    def clear(self) -> None:
        """Forget what the containers wrote and what has not been delivered yet, as when the ledger is cleared."""
        self.lines.clear()
        for session in self._sessions:
            session.waiting.clear()
            session.again.clear()

    def _record(self, request: Request) -> None:
        for line in lines_of(request):
            self._log(line)

    def _log(self, request: Line) -> None:
        fields, late_s = None, None
        for session in self._sessions:
            if request.project not in session.projects:
                continue
            fields = fields_of(request) if fields is None else fields
            if not session.selects(fields) or self._faults.excludes(clock.now(), fields):
                continue
            late_s = self._faults.late_s(clock.now()) if late_s is None else late_s
            self._serial += 1
            due = request.ended_at + self.delivery_delay_s + session.buffer_s + late_s
            heapq.heappush(session.waiting, (due, self._serial, request))
            if session.waiting[0][1] == self._serial:
                session.woken.set()

    async def _list(self, request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
        self.calls["ListLogEntries"] += 1
        now = clock.now()
        refusal = self._faults.refusal(now)
        try:
            if refusal:
                raise RefusedError(*_LIST_ENDS.get(refusal, _ENDS[refusal]))
            projects = projects_of(request.resource_names, _project_of)
            return listed(
                request,
                projects,
                _filter_of(request),
                ledger=self._ledger,
                lines=self.lines,
                now=now,
                delay_s=self.delivery_delay_s,
                excluded=lambda fields: self._faults.excludes(now, fields),
                twice=lambda: self._faults.twice(now),
            )
        except BadListError as error:
            await context.abort(_Code.INVALID_ARGUMENT, str(error))
        except RefusedError as refused:
            await context.abort(refused.code, refused.message)

    async def _tail(self, requests: AsyncIterator[Any], context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        self.calls["TailLogEntries"] += 1
        session = None
        try:
            request = await anext(requests, None)
            if request is None:
                raise RefusedError(_Code.INVALID_ARGUMENT, "A tail session takes one request; none came.")
            session = self._open(request)
            await context.send_initial_metadata(())
            await self._deliver(session, context)
        except RefusedError as refused:
            await context.abort(refused.code, refused.message)
        finally:
            if session is not None:
                index = self._sessions.index(session)
                del self._sessions[index], self.filters[index]

    def _open(self, request: Any) -> _Session:
        projects = frozenset(_project_of(name) for name in request.resource_names)
        refusal = self._faults.refusal(clock.now())
        if refusal:
            raise RefusedError(*_ENDS[refusal])
        if not projects:
            raise RefusedError(_Code.INVALID_ARGUMENT, "At least one resource name must be specified.")
        for project in projects:
            if sum(project in other.projects for other in self._sessions) >= MOST_SESSIONS:
                raise RefusedError(*_ENDS["resource_exhausted"])
        session = _Session(
            projects=projects,
            selects=_filter_of(request),
            buffer_s=_buffer_of(request),
            ends_at=clock.now() + self._longest_session_s,
        )
        self._sessions.append(session)
        self.filters.append(request.filter)
        return session

    async def _deliver(self, session: _Session, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        while True:
            session.woken.clear()
            now = clock.now()
            entries, left_out = self._due(session, now)
            entries, end = self._cut(session, entries, now)
            if entries or left_out:
                self.delivered += len(entries)
                await context.write(_response(entries, left_out))
            if end:
                raise RefusedError(*_ENDS[end])
            next_at = session.waiting[0][0] if session.waiting else session.ends_at
            timeout_s = 0.0 if session.again else max(0.0, min(next_at, session.ends_at) - clock.now())
            try:
                async with asyncio.timeout(timeout_s):
                    await session.woken.wait()
            except TimeoutError:
                continue

    def _due(self, session: _Session, now: float) -> tuple[list[Line], Counter[str]]:
        """What a response delivers now, and how much is left out for which reason."""
        entries, session.again = session.again, []
        left_out: Counter[str] = Counter()
        while session.waiting and session.waiting[0][0] <= now and len(entries) < PER_RESPONSE:
            request = heapq.heappop(session.waiting)[2]
            if self._faults.silent(now):
                continue
            reason = self._faults.suppressed(now) or self._over_the_rate(request.project, now)
            if reason:
                left_out[reason] += 1
                continue
            entries.append(request)
            if self._faults.twice(now):
                session.again.append(request)
        return entries, left_out

    def _cut(self, session: _Session, entries: list[Line], now: float) -> tuple[list[Line], str]:
        if now >= session.ends_at:
            return entries, "expire"
        kept, end = self._faults.cut(now, len(entries))
        return entries[:kept], end

    def _over_the_rate(self, project: str, now: float) -> str:
        minute = int(now // 60)
        began, used = self._used.get(project, (minute, 0))
        used = used + 1 if began == minute else 1
        self._used[project] = (minute, used)
        return "RATE_LIMIT" if used > self._entries_per_minute else ""


def _project_of(name: str) -> str:
    found = re.fullmatch(r"projects/([^/]+)(?:/.*)?", name)
    if found is None:
        raise RefusedError(_Code.INVALID_ARGUMENT, f"Invalid resource name '{name}'; this emulator has projects only.")
    return found[1]


def _filter_of(request: Any) -> Filter:
    if len(request.filter) > LONGEST_FILTER:
        raise RefusedError(_Code.INVALID_ARGUMENT, f"The filter is longer than {LONGEST_FILTER} characters.")
    try:
        return parse(request.filter)
    except InvalidFilterError as error:
        raise RefusedError(_Code.INVALID_ARGUMENT, str(error)) from error


def _buffer_of(request: Any) -> float:
    if not request.HasField("buffer_window"):
        return BUFFER_S
    buffer_s: float = request.buffer_window.ToMicroseconds() / 1e6
    if not 0 <= buffer_s <= LONGEST_BUFFER_S:
        raise RefusedError(_Code.INVALID_ARGUMENT, "buffer_window must lie between 0 and 60 seconds.")
    return buffer_s


def _response(entries: list[Line], left_out: Counter[str]) -> Any:
    response = _Response()
    for request in sorted(entries, key=lambda r: r.ended_at - r.latency_s):
        response.entries.append(render(request))
    for reason, count in left_out.items():
        info = response.suppression_info.add()
        info.reason = info.Reason.Value(reason)
        info.suppressed_count = count
    return response
