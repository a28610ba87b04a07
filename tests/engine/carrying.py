"""A process that carries an outbox to an HTTP collector: `python carrying.py DATABASE_URL COLLECTOR_URL OWNER`."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import aiohttp
import structlog

from watchdog.engine.clock import SystemClock
from watchdog.engine.outbox import Outbox, OutboxSettings
from watchdog.errors import PermanentError, TemporaryError
from watchdog.ports import Delivery, Receipt
from watchdog.store import make_store


class HttpNotifier:
    """Posts the key; 5xx and 429 are temporary, any other refusal is permanent."""

    channel = "slack"

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def deliver(self, delivery: Delivery) -> Receipt:
        try:
            async with self._session.post(self._url, json={"key": delivery.key}) as response:
                if response.status == 429 or response.status >= 500:
                    raise TemporaryError(f"{response.status}", delay_s=float(response.headers.get("Retry-After", 0)))
                if response.status != 200:
                    raise PermanentError(f"{response.status}", status=response.status)
                return Receipt(provider_id=await response.text())
        except aiohttp.ClientError as fault:
            raise TemporaryError(str(fault)) from fault


async def main(database_url: str, collector_url: str, owner: str) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    store = make_store(database_url)
    await store.open()
    settings = OutboxSettings(lease_ttl_s=0.5, poll_s=0.05, backoff_first_s=0.1, attempt_timeout_s=0.5, concurrency=3)
    async with aiohttp.ClientSession() as session:
        notifier = HttpNotifier(session, collector_url)
        await Outbox(store, [notifier], SystemClock(), owner=owner, jitter=lambda: 0.0, settings=settings).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
