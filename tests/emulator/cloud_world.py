"""An emulator in the test's own process, quick, with a client for its Admin API."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from watchdog.emulator.director import Release
from watchdog.emulator.options import Options
from watchdog.emulator.server import Emulator
from watchdog.emulator.world import Revision, Service, ServiceKey

Json = dict[str, Any]

PROJECT, REGION, NAME = "barq-fleet", "us-central1", "barq-fleet-api"
KEY = ServiceKey(PROJECT, REGION, NAME)
BASE = f"/apis/serving.knative.dev/v1/namespaces/{PROJECT}"
SERVICE = f"{BASE}/services/{NAME}"
QUICK = {"routing_delay_s": 0.05, "startup_s": 0.01, "startup_timeout_s": 0.05}


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """The emulator, and sessions that talk to it."""

    emulator: Emulator
    http: aiohttp.ClientSession

    @property
    def admin_url(self) -> str:
        return f"http://{self.emulator.endpoints()['cloud_run']}"

    @property
    def control_url(self) -> str:
        return str(self.emulator.endpoints()["control"])

    @property
    def url(self) -> str:
        return self.service.url

    @property
    def service(self) -> Service:
        return self.emulator.world.services[KEY]

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Json]:
        """(status, JSON) of an Admin API request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, self.admin_url + path, json=body, headers=named) as answer:
            return answer.status, await answer.json()

    async def control(self, method: str, path: str, body: Any = None) -> tuple[int, Json]:
        """(status, JSON) of a control request."""
        async with self.http.request(method, f"{self.control_url}/emulator/{path}", json=body) as answer:
            return answer.status, {} if answer.status == 204 else await answer.json()

    async def read(self) -> Json:
        """The service as the Admin API shows it."""
        status, service = await self.call("GET", SERVICE)
        assert status == 200, service
        return service

    async def write(self, service: Json) -> tuple[int, Json]:
        """PUT the service back."""
        return await self.call("PUT", SERVICE, service)

    async def split(self, traffic: list[Json]) -> Json:
        """Write a traffic list, wait until it is settled, and read the service."""
        service = await self.read()
        service["spec"]["traffic"] = traffic
        status, answer = await self.write(service)
        assert status == 200, answer
        await self.settle()
        return await self.read()

    async def deploy(self, **fields: Any) -> Revision:
        """Deploy a revision and wait until it is settled."""
        revision = await self.emulator.director.deploy(Release(**fields))
        await self.settle()
        return revision

    async def settle(self) -> Service:
        async with asyncio.timeout(40):
            return await self.emulator.director.settle(KEY)

    async def get(self, url: str, *, timeout_s: float = 5.0, agent: str = "test") -> tuple[int, str]:
        """(status, text) from the data plane."""
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with self.http.get(url, timeout=timeout, headers={"User-Agent": agent}) as answer:
            return answer.status, await answer.text()

    async def get_revision(self, url: str) -> str:
        """Which revision answers at `url`."""
        async with self.http.get(f"{url}/version") as answer:
            assert answer.status == 200, await answer.text()
            return str((await answer.json())["revision"])


@asynccontextmanager
async def running_cloud(**options: Any) -> AsyncIterator[Cloud]:
    """An emulator with the default service, quick unless told otherwise."""
    async with Emulator(Options(**{**QUICK, **options})) as emulator, aiohttp.ClientSession() as http:
        yield Cloud(emulator=emulator, http=http)


async def until(condition: Callable[[], object], *, timeout_s: float = 40.0) -> None:
    """Return as soon as `condition` holds; `TimeoutError` when it never does."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 -- conditions of real servers, which signal nothing
            await asyncio.sleep(0.005)


async def until_async(condition: Callable[[], Awaitable[object]], *, timeout_s: float = 40.0) -> None:
    """`until` for a condition that must be awaited."""
    async with asyncio.timeout(timeout_s):
        while not await condition():  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0.005)
