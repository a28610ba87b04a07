"""Real processes, a real collector that misbehaves, a real file: nothing is lost when the sender is killed."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from watchdog.engine.clock import SystemClock
from watchdog.ports import Delivery, Store
from watchdog.store import make_store

CARRYING = Path(__file__).with_name("carrying.py")
THREADS = 6
EACH = 8


class Collector:
    """Refuses, hangs, drops the connection, or takes the message and then drops it."""

    def __init__(self) -> None:
        self.dice = random.Random(11)
        self.arrived: list[str] = []
        self.some_arrived = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        key = (await request.json())["key"]
        if key == "w0:000:refused":
            return web.Response(status=400)
        mood = self.dice.random()
        if mood < 0.1:
            return web.Response(status=503)
        if mood < 0.15:
            return web.Response(status=429, headers={"Retry-After": "0.2"})
        if mood < 0.2:
            await asyncio.sleep(0.7)
        self.arrived.append(key)
        if len(self.arrived) % 10 == 0:
            self.some_arrived.set()
        if mood < 0.25 and request.transport is not None:
            request.transport.close()
        return web.Response(text=key)


@asynccontextmanager
async def sender(database_url: str, collector_url: str, owner: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, CARRYING, database_url, collector_url, owner, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until_empty(store: Store) -> None:
    while True:
        if not await store.undelivered():
            return
        await asyncio.sleep(0.05)


async def test_senders_killed_again_and_again_lose_nothing_and_keep_the_order(tmp_path: Path) -> None:
    """Messages may arrive twice; none is missing, and none overtakes another of its thread for the first time."""
    collector = Collector()
    app = web.Application()
    app.router.add_post("/", collector.answer)
    url = f"sqlite:///{tmp_path}/watchdog.db"
    store = make_store(url)
    await store.open()
    lease = await store.acquire("watch/test", "test", ttl_s=60.0, now=0.0)
    assert lease is not None
    keys = ["w0:000:refused", *(f"w{thread}:{n:03}" for n in range(1, EACH + 1) for thread in range(THREADS))]
    born = SystemClock().now()
    await store.append(
        lease,
        [],
        deliveries=[
            Delivery(key=key, channel="slack", thread=key[:2], kind="note", created_at=born, body={}) for key in keys
        ],
    )

    async with TestServer(app) as server:
        for round_ in range(2):
            async with sender(url, str(server.make_url("/")), f"victim-{round_}"):
                collector.some_arrived.clear()
                await asyncio.wait_for(collector.some_arrived.wait(), 20.0)
        async with sender(url, str(server.make_url("/")), "survivor") as last:
            async with asyncio.timeout(30.0):
                await until_empty(store)
            last.terminate()

    assert set(collector.arrived) == set(keys[1:])
    for thread in range(THREADS):
        first = list(dict.fromkeys(key for key in collector.arrived if key.startswith(f"w{thread}:")))
        assert first == sorted(first)
    await store.close()
