"""The server under test over real loopback, with an in-memory store and a clock that a test sets."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from aiohttp import ClientSession, TCPConnector, web

from tests.web.views import T0, row
from watchdog.core.model import ServiceKey
from watchdog.ports import NewEvent
from watchdog.store.memory import MemoryStore
from watchdog.telemetry import Metrics
from watchdog.web import WebServices, make_app

API = ServiceKey(project="barq-fleet", region="us-central1", name="barq-fleet-api")
EUROPE = ServiceKey(project="barq-fleet", region="europe-west1", name="barq-fleet-api")
WORKER = ServiceKey(project="barq-fleet", region="us-central1", name="barq-worker")
TOKEN = "s3cret-token-for-tests"


class FastClock:
    """Waits twenty times shorter than asked, and says what time a test has set."""

    def __init__(self, at: float) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() * 20

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(max(0.0, delay_s) / 20)


@dataclass
class Site:
    """The server under test and what stands behind it."""

    url: str
    http: ClientSession
    store: MemoryStore
    clock: FastClock
    metrics: Metrics
    app: web.Application
    refusals: dict[str, str] = field(default_factory=dict)
    readiness: tuple[bool, str] = (True, "Watching.")
    cloud_run_fault: Exception | None = None

    async def put(self, view: Mapping[str, Any], events: Sequence[NewEvent] = ()) -> None:
        """Store a watch's read model, with events in its journal."""
        lease = await self.store.acquire(f"watch/{view['id']}", "test", ttl_s=60, now=self.clock.now())
        assert lease is not None
        await self.store.append(lease, events, watch=row(view))

    async def get(self, path: str, **options: Any) -> Any:
        async with self.http.get(self.url + path, **options) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def send(self, path: str, body: Any = None, *, token: str | None = TOKEN, **headers: str) -> tuple[int, Any]:
        """POST; returns the status and the decoded answer."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        kind: dict[str, Any] = {"data": body} if isinstance(body, str | bytes) else {"json": body}
        async with self.http.post(self.url + path, headers=headers, **(kind if body is not None else {})) as answer:
            return answer.status, await answer.json(content_type=None)

    async def letters(self, stream: str) -> list[tuple[str, Mapping[str, Any]]]:
        return [(letter.kind, letter.body) for letter in await self.store.letters([stream])]


def event(kind: str, offset_s: float = 0.0, **body: Any) -> NewEvent:
    return NewEvent(at=T0 + offset_s, seen_at=T0 + offset_s, kind=kind, schema=1, body=body)


@asynccontextmanager
async def serve(
    token: str | None = TOKEN, *, port: int = 0, store: MemoryStore | None = None, **options: Any
) -> AsyncIterator[Site]:
    """The application on a free port. `options` are further members of `WebServices`."""
    store, clock = store or MemoryStore(), FastClock(T0 + 425)
    metrics = Metrics(version="0.1.0", services=[API.name], channels=["slack"], sources=["cloud_run"])
    numbers = count(1)
    state: dict[str, Site] = {}

    async def why_not_deploy(key: ServiceKey, image: str) -> str | None:
        return state["site"].refusals.get(image)

    async def why_not_release(key: ServiceKey) -> str | None:
        if fault := state["site"].cloud_run_fault:
            raise fault
        return state["site"].refusals.get(str(key))

    app = make_app(
        WebServices(
            store=store,
            clock=clock,
            metrics=metrics,
            services=[API, EUROPE, WORKER],
            ready=lambda: state["site"].readiness,
            why_not_deploy=why_not_deploy,
            why_not_release=why_not_release,
            version="0.1.0",
            new_id=lambda: f"new{next(numbers)}",
            api_token=token,
            **options,
        )
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    place = web.TCPSite(runner, "127.0.0.1", port)
    await place.start()
    host, port = runner.addresses[0][:2]
    async with ClientSession(connector=TCPConnector(limit=0)) as http:
        made = Site(f"http://{host}:{port}", http, store, clock, metrics, app)
        state["site"] = made
        try:
            yield made
        finally:
            await runner.cleanup()
