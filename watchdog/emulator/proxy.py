"""One request from the front to a container and back, and the line that it leaves in the ledger.

Keep-alive connections to the containers, bodies read whole (no streaming, no web sockets). As in Cloud Run a caller who
goes away does not end his request: it goes on for a while, and is counted when it ends; one that never ends is counted
as 504 when its time-out has passed.
"""

import asyncio
import random
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from yarl import URL

from watchdog.emulator import clock
from watchdog.emulator.fleet import Fleet
from watchdog.emulator.ledger import Ledger, Request
from watchdog.emulator.tasks import end_tasks
from watchdog.emulator.workload import GRPC_STATUS, REQUEST_ID
from watchdog.emulator.world import Revision

HOP_BY_HOP = frozenset({
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "date",
    "server",
    "accept-encoding",
    "x-forwarded-for",
    REQUEST_ID.lower(),
})  # fmt: skip

LINGER_S = 5.0
"""How long a request whose caller has gone keeps its connection to the container."""

MAX_IN_FLIGHT = 1000
"""Requests of one revision at a time; more are answered 429, as when every instance is busy."""

UNAVAILABLE = (
    "<html><head><title>503 Server Error</title></head><body><h1>Error: Server Error</h1>"
    "<h2>The service you requested is not available yet.<p>Please try again in 30 seconds.</h2></body></html>"
)
BUSY = "Rate exceeded."
TIMED_OUT = "upstream request timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    reached_container: bool = True
    turned_away: bool = False
    latency_s: float = 0.0


@dataclass(slots=True)
class _Pending:
    """Requests of one revision under way, and its cold start."""

    in_flight: int = 0
    last_request_at: float = float("-inf")
    warm_at: float = float("-inf")
    taken_until: float = float("-inf")
    """At a ceiling: up to when the instances are busy with what they have taken."""


class Proxy:
    """Forwards requests to containers. `start` before the first one, `stop` at the end."""

    def __init__(self, fleet: Fleet, ledger: Ledger, *, seed: int = 0) -> None:
        self._fleet = fleet
        self._ledger = ledger
        self._ids = random.Random(f"{seed}/ids")
        self._pending: dict[str, _Pending] = {}
        self._lingering: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the connection pool."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60.0)
        self._session = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def stop(self) -> None:
        """Drop what is under way."""
        await end_tasks(self._lingering)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def in_flight(self, revision: Revision) -> int:
        """Requests that a revision is working on, those whose caller has gone included."""
        pending = self._pending.get(revision.uid)
        return 0 if pending is None else pending.in_flight

    async def forward(self, request: web.BaseRequest, revision: Revision) -> web.StreamResponse:
        """Answer `request` from the container of `revision`."""
        body = await request.read() if request.can_read_body else b""
        insert_id = f"{self._ids.getrandbits(64):016x}"
        exchange = asyncio.ensure_future(self._exchange(request, revision, body, insert_id))
        try:
            answer = await asyncio.shield(exchange)
        except asyncio.CancelledError:
            self._linger(exchange, request, revision, insert_id)
            raise
        self._record(answer, request, revision, insert_id)
        return web.Response(
            status=answer.status, body=answer.body, headers=[*answer.headers, ("Server", "Google Frontend")]
        )

    async def _exchange(self, request: web.BaseRequest, revision: Revision, body: bytes, insert_id: str) -> _Answer:
        pending = self._pending.setdefault(revision.uid, _Pending())
        if pending.in_flight >= MAX_IN_FLIGHT:
            return _Answer(status=429, body=BUSY.encode(), reached_container=False)
        if self._is_full(revision, pending):
            return _Answer(status=429, body=BUSY.encode(), turned_away=True)
        pending.in_flight += 1
        try:
            await self._warm(revision, pending)
            return await self._ask(request, revision, body, insert_id)
        finally:
            pending.in_flight -= 1

    def _is_full(self, revision: Revision, pending: _Pending) -> bool:
        """Whether the revision takes no more: it takes so many a second, and a second's worth at once."""
        now, per_s = clock.now(), revision.faults.ceiling(clock.now())
        if per_s is None:
            return False
        until = max(pending.taken_until, now - 1.0)
        if per_s <= 0.0 or until + 1.0 / per_s > now:
            return True
        pending.taken_until = until + 1.0 / per_s
        return False

    async def _warm(self, revision: Revision, pending: _Pending) -> None:
        """Wait for a container to start, when the revision has been idle and its script has a cold start."""
        now, startup = clock.now(), revision.faults.startup
        if startup is not None and now - pending.last_request_at > startup.idle_s:
            pending.warm_at = now + startup.delay_ms / 1000.0
        pending.last_request_at = now
        if pending.warm_at > now:
            await asyncio.sleep(pending.warm_at - now)

    async def _ask(self, request: web.BaseRequest, revision: Revision, body: bytes, insert_id: str) -> _Answer:
        url = self._fleet.url(revision)
        if url is None or self._session is None:
            return _Answer(status=503, body=UNAVAILABLE.encode(), reached_container=False)
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP]
        headers += [("X-Forwarded-For", _caller(request)), ("X-Forwarded-Proto", "https"), (REQUEST_ID, insert_id)]
        began = clock.monotonic()
        try:
            async with self._session.request(
                request.method,
                URL(url + request.path_qs, encoded=True),
                headers=headers,
                data=body or None,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                timeout=aiohttp.ClientTimeout(total=revision.timeout_s),
            ) as answer:
                content = await answer.read()
                kept = tuple((name, value) for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP)
                return _Answer(status=answer.status, body=content, headers=kept, latency_s=clock.monotonic() - began)
        except TimeoutError:
            return _Answer(status=504, body=TIMED_OUT.encode(), latency_s=clock.monotonic() - began)
        except aiohttp.ClientConnectorError:
            return _Answer(status=503, body=UNAVAILABLE.encode(), reached_container=False)
        except aiohttp.ClientError:
            return _Answer(status=503, body=UNAVAILABLE.encode(), latency_s=clock.monotonic() - began)

    def _linger(
        self, exchange: asyncio.Future[_Answer], request: web.BaseRequest, revision: Revision, insert_id: str
    ) -> None:
        task = asyncio.create_task(self._outlive(exchange, request, revision, insert_id), name="emulator linger")
        self._lingering.add(task)
        task.add_done_callback(self._lingering.discard)

    async def _outlive(
        self, exchange: asyncio.Future[_Answer], request: web.BaseRequest, revision: Revision, insert_id: str
    ) -> None:
        """See a request through whose caller has gone; give its connection up early, but count it when it is due."""
        began = clock.monotonic()
        try:
            answer = await asyncio.wait_for(exchange, LINGER_S)
        except TimeoutError:
            await asyncio.sleep(max(0.0, revision.timeout_s - (clock.monotonic() - began)))
            answer = _Answer(status=504, body=b"", latency_s=revision.timeout_s)
        self._record(answer, request, revision, insert_id)

    def _record(self, answer: _Answer, request: web.BaseRequest, revision: Revision, insert_id: str) -> None:
        if not answer.reached_container:
            return
        key = revision.key
        self._ledger.record(
            Request(
                revision=revision.name,
                service=key.name,
                project=key.project,
                region=key.region,
                ended_at=clock.now(),
                latency_s=answer.latency_s,
                status=answer.status,
                user_agent=request.headers.get("User-Agent", ""),
                method=request.method,
                url=f"http://{request.host}{request.path_qs}",
                size_bytes=len(answer.body),
                remote_ip=_caller(request),
                insert_id=insert_id,
                grpc_status=_grpc_status(answer),
                turned_away=answer.turned_away,
            )
        )


def _caller(request: web.BaseRequest) -> str:
    """The caller's address; the load generator names one of many in X-Forwarded-For."""
    return request.headers.get("X-Forwarded-For", "").partition(",")[0].strip() or request.remote or ""


def _grpc_status(answer: _Answer) -> int | None:
    """The gRPC status that the container answered, if it was a call."""
    found = next((value for name, value in answer.headers if name.lower() == GRPC_STATUS), "")
    return int(found) if found.isdecimal() else None
