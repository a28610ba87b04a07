"""A process that carries a store's outbox with the real channels, and kills itself between two steps.

`python -m benchmarks.paging_sender DATABASE_URL STEP`: the channels come from the environment, as for the daemon. A
step is a moment before or after a message is handed to a provider, or before or after the store is told what became of
it; at step number STEP the process is killed by signal 9. 0: never.
"""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Mapping
from typing import Any, cast

import structlog

from watchdog.actions import channels
from watchdog.engine.clock import SystemClock
from watchdog.engine.outbox import Outbox, OutboxSettings
from watchdog.ports import Delivery, Notifier, Receipt, Store
from watchdog.settings import load_settings
from watchdog.store import make_store
from watchdog.transport import open_session

TELLS = frozenset({"delivered", "deferred", "dead"})


class Fate:
    """Counts steps, and ends the process at one of them, as `kill -9` would."""

    def __init__(self, at: int) -> None:
        self._left = at

    def step(self) -> None:
        """One step further; the last one is the end."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """A notifier whose process may die on either side of handing a message over."""

    def __init__(self, inner: Notifier, fate: Fate) -> None:
        self.channel = inner.channel
        self._inner, self._fate = inner, fate

    async def deliver(self, delivery: Delivery) -> Receipt:
        """Hand it over, if it comes to that."""
        self._fate.step()
        receipt = await self._inner.deliver(delivery)
        self._fate.step()
        return receipt


class MortalStore:
    """A store whose process may die on either side of being told what became of a message."""

    def __init__(self, inner: Store, fate: Fate) -> None:
        self._inner, self._fate = inner, fate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in TELLS:
            return method

        async def told(*args: Any, **kwargs: Any) -> Any:
            self._fate.step()
            answer = await method(*args, **kwargs)
            self._fate.step()
            return answer

        return told


async def carry(database_url: str, step: int, environment: Mapping[str, str]) -> None:
    """Carry until killed."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    fate, clock = Fate(step), SystemClock()
    store = make_store(database_url)
    await store.open()
    settings = OutboxSettings(lease_ttl_s=1.0, poll_s=0.2)
    async with open_session() as session:
        found = channels.load(session, clock, load_settings(environment))
        outbox = Outbox(
            cast("Store", MortalStore(store, fate)),
            [Mortal(notifier, fate) for notifier in found],
            clock,
            owner=f"sender-{os.getpid()}",
            jitter=random.random,
            settings=settings,
        )
        await outbox.run()


if __name__ == "__main__":
    asyncio.run(carry(sys.argv[1], int(sys.argv[2]), os.environ))
