"""Servers that misbehave for real: raw sockets that hang, drip, reset or talk nonsense, and aiohttp for the rest."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestServer

from watchdog.core.policy import ProbeConfig
from watchdog.core.probing import ProbeAnswer
from watchdog.sources.http_probe import HttpProber

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
NOW = 1_700_000_000.0


class LoopClock:
    """`ports.Clock` on the running loop's time: real seconds that begin at a known Unix time."""

    def now(self) -> float:
        return NOW + asyncio.get_running_loop().time()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


@asynccontextmanager
async def raw(talk: Talk, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """A TCP server whose every connection runs `talk`; gives its base URL. Connections end with the block."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the prober went away first, or the test is over
        finally:
            writer.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        name = f"[{host}]" if ":" in host else host
        yield f"{'https' if tls else 'http'}://{name}:{port}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def head(reader: asyncio.StreamReader) -> bytes:
    """Read one request's head."""
    return await reader.readuntil(b"\r\n\r\n")


def says(answer: bytes, *, then: Talk | None = None) -> Talk:
    """Read one request, send `answer`, go on with `then` or close."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(answer)
        await writer.drain()
        if then is not None:
            await then(reader, writer)
        else:
            writer.close()
            await writer.wait_closed()

    return talk


async def hang(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Never say anything more."""
    await asyncio.Event().wait()


async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Cut the connection with a RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def app(handler: Handler) -> AsyncIterator[str]:
    """An aiohttp server that answers every request with `handler`; gives its base URL."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(application, host="127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.port}"


def config(**fields: object) -> ProbeConfig:
    """A probe of `/health` that expects 200."""
    values: dict[str, object] = {"name": "health", "timeout_s": 5.0}
    if "url" not in fields:
        values["path"] = "/health"
    return ProbeConfig.model_validate(values | fields)


def expecting(subset: object, status: int = 200) -> dict[str, object]:
    return {"status": (status,), "json_subset": subset}


HEALTHY = expecting({"status": "healthy"})


async def ask(base_url: str, *, fresh: bool = True, **fields: object) -> ProbeAnswer:
    """One probe with a prober of its own."""
    async with HttpProber(LoopClock()) as prober:
        return await prober.probe(config(**fields), base_url, fresh=fresh)
