"""What runs in the container of a revision: a small fleet-management API that is healthy unless a fault says otherwise.

A real HTTP server on a port of its own, so that probes and users meet real connections, real resets and real silence.
Latencies of the user routes are lognormal around 40 ms (95 % below about 90 ms, 99 % below about 130 ms), seeded.
"""

import asyncio
import json
import math
import random
from collections.abc import Callable

from aiohttp import web

from watchdog.emulator import clock
from watchdog.emulator.app_log import AppLog, Severity, trace_of
from watchdog.emulator.faults import Effect
from watchdog.emulator.fleet_api import FleetApi
from watchdog.emulator.listener import Listener
from watchdog.emulator.scripting import reset_connection
from watchdog.emulator.tasks import end_tasks
from watchdog.emulator.world import Json, Revision

REQUEST_ID = "X-Emulator-Request-Id"
"""Header with which the front names a request, so that a retried one meets the same fate."""

GRPC = "application/grpc"
GRPC_STATUS = "grpc-status"
"""Of a call; in the headers of an answer without messages, which a failed unary call is."""

MEDIAN_S = 0.040
SIGMA = 0.5
PROBE_S = 0.003

PROBES: dict[str, Json] = {
    "/health": {"status": "healthy"},
    "/api/v1/health/ready": {"status": "ready"},
    "/api/v1/health/live": {"status": "alive"},
}


class Workload:
    """The server of one revision. `start` and `stop` are the container's life; faults open and close the port."""

    def __init__(self, revision: Revision, *, seed: int, api: FleetApi, lines: AppLog) -> None:
        self._revision = revision
        self._lines = lines
        self._api = api
        self._random = random.Random(f"{seed}/{revision.name}")
        self._requests = 0
        server = web.Server(self._handle, handler_cancellation=True, access_log=None, keepalive_timeout=75.0)
        self._listener = Listener(server)
        self._changed = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self.url = self._listener.url

    async def start(self) -> None:
        """Listen, unless a fault says that the revision is down."""
        await self._obey_faults()
        self._supervisor = asyncio.create_task(self._supervise(), name=f"emulator workload {self._revision.name}")

    async def stop(self) -> None:
        """End the container and give its port back."""
        if self._supervisor is not None:
            await end_tasks([self._supervisor])
        await self._listener.release()

    def wake(self) -> None:
        """Look at the fault script again: it has changed, or its clock has started."""
        if self._revision.faults.is_down(clock.now()):
            self._listener.close()
        self._changed.set()

    async def _supervise(self) -> None:
        while True:
            self._changed.clear()
            await self._obey_faults()
            change = self._revision.faults.next_change(clock.now())
            try:
                async with asyncio.timeout(None if change is None else max(0.0, change - clock.now()) + 0.001):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _obey_faults(self) -> None:
        if self._revision.faults.is_down(clock.now()):
            self._listener.close()
        else:
            await self._listener.open()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._requests += 1
        request_id = request.headers.get(REQUEST_ID) or f"{self._revision.name}/{self._requests}"
        agent, grpc = request.headers.get("User-Agent", ""), request.content_type == GRPC
        effect = self._revision.faults.effect(
            request.path, request_id, clock.now(), method=request.method, agent=agent, grpc=grpc
        )
        await asyncio.sleep(self._latency_s(request.path) + effect.delay_s)
        for severity, said in effect.says:
            self._log(said, severity=severity)
        if effect.action == "status" and effect.status >= 500:
            trace = trace_of(request.method, request.path, request_id)
            self._log(f"{request.method} {request.path} failed", trace=trace)
        return await self._end(request, effect)

    def _log(self, text: str, *, severity: Severity = "ERROR", trace: str = "") -> None:
        key = self._revision.key
        self._lines.write(
            project=key.project,
            region=key.region,
            service=key.name,
            revision=self._revision.name,
            text=text,
            severity=severity,
            trace=trace,
        )

    async def _end(self, request: web.BaseRequest, effect: Effect) -> web.StreamResponse:
        if effect.action == "hang":
            await asyncio.Event().wait()
        if effect.action == "reset":
            reset_connection(request.transport)
            return web.Response(status=500)  # goes nowhere
        if effect.action == "status":
            return _json({"detail": "internal error"}, status=effect.status)
        if effect.action == "body":
            if isinstance(effect.body, str):
                return web.Response(text=effect.body)
            return _json(effect.body or {})
        if request.content_type == GRPC:
            code = effect.status if effect.action == "grpc" else 0
            return web.Response(headers={"Content-Type": GRPC, GRPC_STATUS: str(code)})
        return self._answer(request, await request.read() if request.can_read_body else b"")

    def _answer(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        fixed = PROBES.get(request.path)
        if request.path == "/version":
            fixed = {"version": self._revision.version, "revision": self._revision.name}
        if request.path == "/":
            fixed = {"service": self._revision.key.name}
        if fixed is not None:
            return _json(fixed)
        answer = self._api.handle(request.method, request.path, request.headers.get("Authorization", ""), body)
        status, value = (404, {"detail": "not found"}) if answer is None else answer
        return web.Response(status=status) if value is None else _json(value, status=status)

    def _latency_s(self, path: str) -> float:
        if path in PROBES or path == "/version":
            return PROBE_S
        return MEDIAN_S * math.exp(SIGMA * self._random.gauss(0.0, 1.0))


def _json(body: object, *, status: int = 200, dumps: Callable[[object], str] = json.dumps) -> web.Response:
    return web.Response(text=dumps(body), status=status, content_type="application/json")
