"""A real HTTP server that records what it is sent and answers what a test scripts."""

import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from watchdog.transport import open_session


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(kw_only=True)
class Answer:
    """One answer; `drop` closes the connection instead."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False

    def response(self) -> web.Response:
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        kind = "text/plain" if isinstance(self.body, str) else "application/json"
        return web.Response(status=self.status, text=text, content_type=kind, headers=self.headers)


class Recorder:
    """`answers` are used up in order; then `default` answers, which may look at the request."""

    def __init__(self, default: Answer | Callable[[Seen], Answer]) -> None:
        self.seen: list[Seen] = []
        self.answers: deque[Answer] = deque()
        self.default = default
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        seen = Seen(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=dict(request.headers),
            text=await request.text(),
        )
        self.seen.append(seen)
        if self.answers:
            answer = self.answers.popleft()
        else:
            answer = self.default(seen) if callable(self.default) else self.default
        if answer.drop:
            assert request.transport is not None
            request.transport.close()
        return answer.response()

    def bodies(self, path: str) -> list[Any]:
        return [seen.json for seen in self.seen if seen.path == path]


@asynccontextmanager
async def recording(
    default: Answer | Callable[[Seen], Answer],
) -> AsyncIterator[tuple[Recorder, aiohttp.ClientSession]]:
    """A recorder on a free port of the loopback, and a session to talk to it."""
    recorder = Recorder(default)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", recorder.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    recorder.url = f"http://{host}:{port}"
    session = open_session()
    try:
        yield recorder, session
    finally:
        await session.close()
        await runner.cleanup()
