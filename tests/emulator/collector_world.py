"""The collectors behind a real HTTP server, with a client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web
from aiohttp.test_utils import TestServer

from watchdog.emulator.collectors import Collected, add_routes

TOKEN = {"Authorization": "Bearer xoxb-emulated"}
JSON = {"Content-Type": "application/json; charset=utf-8"}


@dataclass
class Clock:
    """Unix seconds, as the test sets them."""

    at: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at


@dataclass
class World:
    clock: Clock
    collected: Collected
    session: ClientSession

    async def slack(self, method: str, fields: dict[str, Any], **headers: str) -> dict[str, Any]:
        """The answer of a Web API method, called as a bot with a token."""
        async with self.session.post(f"/slack/api/{method}", json=fields, headers=TOKEN | JSON | headers) as response:
            assert response.status == 200
            answer: dict[str, Any] = await response.json()
            return answer

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and body of a POST with JSON."""
        async with self.session.post(path, json=body) as response:
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, await response.text()

    async def read(self, path: str) -> Any:
        """What a GET answers."""
        async with self.session.get(path) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def script(self, channel: str, **behaviour: Any) -> None:
        """Put a behaviour in force over HTTP."""
        status, body = await self.post(f"/emulator/collectors/{channel}/behaviours", behaviour)
        assert status == 201, body


@asynccontextmanager
async def collectors() -> AsyncIterator[World]:
    """Running collectors and a session whose base is their server; a request may take 5 s."""
    clock = Clock()
    collected = Collected(now=clock)
    app = web.Application(client_max_size=8 * 1024 * 1024)
    add_routes(app, collected)
    async with (
        TestServer(app) as server,
        ClientSession(server.make_url("/"), timeout=ClientTimeout(total=5)) as session,
    ):
        yield World(clock=clock, collected=collected, session=session)
