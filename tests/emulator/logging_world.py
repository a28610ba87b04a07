"""An emulated Cloud Logging with Google's own client, and a ledger to feed it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.cloud.logging_v2 import types
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2AsyncClient
from google.cloud.logging_v2.services.logging_service_v2.transports import LoggingServiceV2GrpcAsyncIOTransport
from google.protobuf.duration_pb2 import Duration

from tests.emulator.cloud_world import until
from watchdog.emulator import clock
from watchdog.emulator.ledger import Ledger, Request
from watchdog.emulator.logging import LoggingServer

PROJECT = "barq-fleet"
REQUESTS = 'resource.type="cloud_run_revision" AND log_id("run.googleapis.com/requests")'


@dataclass
class Tailing:
    """One session, read as far as the test asks."""

    stream: Any

    async def read(self) -> types.TailLogEntriesResponse:
        """The next response; the session's error when it has ended."""
        async with asyncio.timeout(40):
            response: types.TailLogEntriesResponse = await anext(self.stream)
            return response

    async def ids(self, count: int) -> list[str]:
        """The insert ids of the next `count` entries, from as many responses as it takes."""
        found: list[str] = []
        while len(found) < count:
            found += [entry.insert_id for entry in (await self.read()).entries]
        return found


@dataclass
class World:
    ledger: Ledger
    server: LoggingServer
    client: LoggingServiceV2AsyncClient
    _serial: int = field(default=0)

    def serve(self, count: int = 1, **fields: Any) -> list[str]:
        """Requests that end now; returns their insert ids."""
        ids = []
        for _ in range(count):
            self._serial += 1
            standard: dict[str, Any] = {
                "revision": "api-00002", "service": "api", "project": PROJECT, "region": "us-central1",
                "ended_at": clock.now(), "latency_s": 0.05, "status": 200, "user_agent": "test", "method": "GET",
                "url": "http://api.test/couriers", "size_bytes": 2, "remote_ip": "127.0.0.1",
                "insert_id": f"request-{self._serial}",
            }  # fmt: skip
            request = Request(**(standard | fields))
            self.ledger.record(request)
            ids.append(request.insert_id)
        return ids

    async def ask(
        self, text: str = REQUESTS, *, resources: Sequence[str] = (f"projects/{PROJECT}",), buffer_s: float | None = 0.0
    ) -> Tailing:
        """A session that has been asked for; whether it opens shows when it is read."""
        request = types.TailLogEntriesRequest(resource_names=list(resources), filter=text)
        if buffer_s is not None:
            request.buffer_window = Duration(seconds=int(buffer_s), nanos=round(buffer_s % 1 * 1e9))
        return await ask(self.client, request)

    async def tail(self, text: str = REQUESTS, **options: Any) -> Tailing:
        """A session that is open."""
        sessions = self.server.sessions
        tailing = await self.ask(text, **options)
        await until(lambda: self.server.sessions > sessions)
        return tailing


async def ask(client: LoggingServiceV2AsyncClient, request: types.TailLogEntriesRequest) -> Tailing:
    """A session that sends `request`."""

    async def once() -> AsyncIterator[types.TailLogEntriesRequest]:
        yield request

    stream: Any = await client.tail_log_entries(requests=once())
    return Tailing(aiter(stream))


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[LoggingServiceV2AsyncClient]:
    """Google's client of the emulator at `host:port`."""
    channel = grpc.aio.insecure_channel(address)
    try:
        yield LoggingServiceV2AsyncClient(transport=LoggingServiceV2GrpcAsyncIOTransport(channel=channel))
    finally:
        await channel.close(None)


@asynccontextmanager
async def emulated(**options: Any) -> AsyncIterator[World]:
    """A running emulator that delivers at once; `options` go to `LoggingServer`."""
    ledger = Ledger()
    server = LoggingServer(ledger=ledger, **{"delivery_delay_s": 0.0, **options})
    port = await server.start("127.0.0.1", 0)
    try:
        async with connected(f"127.0.0.1:{port}") as client:
            yield World(ledger=ledger, server=server, client=client)
    finally:
        await server.stop()
