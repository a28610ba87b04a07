"""The `request_log` source against the emulator's Cloud Logging over real gRPC, on a clock that the test turns.

The emulator delivers what ended in the past at once, so with `T0` long ago nothing waits for real seconds.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any

from tests.emulator.cloud_world import until
from watchdog.core.model import Counts, Evidence, Sample, ServiceKey
from watchdog.emulator.ledger import Ledger, Request
from watchdog.emulator.logging import LoggingServer
from watchdog.emulator.logging_filter import sampled
from watchdog.ports import MetricQuery
from watchdog.sources.log_tail import Tail
from watchdog.sources.logging_client import LoggingClient
from watchdog.sources.request_log import RequestLog
from watchdog.sources.request_tally import LAG_S

SERVICE = ServiceKey(project="barq-fleet", region="us-central1", name="barq-fleet-api")
OTHER = replace(SERVICE, name="barq-fleet-web")
T0 = 1_700_000_040.0
"""A whole minute."""
PROBE = "deploy-watchdog/0.1.0 (probe)"


class TurnedClock:
    """`ports.Clock` that stands still until the test turns it."""

    def __init__(self) -> None:
        self.at = T0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at - T0

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


class World:
    """One emulated Cloud Logging, and the source that tails it."""

    def __init__(self, server: LoggingServer, ledger: Ledger, source: RequestLog, clock: TurnedClock) -> None:
        self.server, self.ledger, self.source, self.clock = server, ledger, source, clock
        self._ids = 0
        self._fence_ids = (f"fence-{number}" for number in count())

    @property
    def tail(self) -> Tail:
        return self.source._tails[SERVICE.project]

    async def stand(self, *services: ServiceKey) -> None:
        """Ask for these services until a session stands that covers them all."""
        wanted = services or (SERVICE,)
        for service in wanted:
            await self.ask(service=service)
        await until(lambda: all(self.tail.covers(service) for service in wanted))

    async def turn(self, to: float, *, wanted: bool = True) -> None:
        """Turn the clock to `T0 + to` and let the tail look at it; `wanted`: somebody has asked all the time."""
        self.clock.at = T0 + to
        for service in list(self.tail.logs) if wanted else ():
            self.tail.want(service)
        self.tail._woken.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def serve(self, at: float, *, n: int = 1, service: ServiceKey = SERVICE, **fields: Any) -> None:
        """`n` requests that end at `T0 + at`, delivered (or left out, as a fault has it)."""
        self.record(at, n=n, service=service, **fields)
        await until(lambda: not any(session.waiting or session.again for session in self.server._sessions))
        await self.arrive()

    def record(self, at: float, *, n: int = 1, service: ServiceKey = SERVICE, **fields: Any) -> None:
        """`n` requests that end at `T0 + at`, in the log."""
        for _ in range(n):
            self._ids += 1
            request = Request(
                revision="api-2", service=service.name, project=service.project, region=service.region,
                ended_at=T0 + at, latency_s=0.1, status=200, user_agent="load", method="GET", url="http://x/",
                size_bytes=2, remote_ip="10.0.0.1", insert_id=f"{self._ids}",
            )  # fmt: skip
            self.ledger.record(replace(request, **fields))

    async def arrive(self) -> None:
        """Let the source read what was sent: a request that comes after all others, whatever share is asked for."""
        serial = next(name for name in self._fence_ids if sampled(name, 2.0**-10))
        seen = self._fences()
        fence = Request(
            revision="fence", service=SERVICE.name, project=SERVICE.project, region=SERVICE.region,
            ended_at=self.clock.at, latency_s=0.0, status=200, user_agent="fence", method="GET", url="http://x/",
            size_bytes=2, remote_ip="10.0.0.1", insert_id=serial,
        )  # fmt: skip
        if any(fault.kind == "silent" for fault in self.server.faults()) or not self.tail.covers(SERVICE):
            return  # nothing comes
        self.ledger.record(fence)
        await until(lambda: self._fences() > seen)

    def _fences(self) -> int:
        log = self.tail.logs.get(SERVICE)
        return 0 if log is None else sum(bucket.total for bucket in log._buckets.get("fence", {}).values())

    async def ask(
        self, *, since: float = 0.0, revision: str = "api-2", service: ServiceKey = SERVICE, **fields: Any
    ) -> list[Sample]:
        """Everything since `T0 + since` that is complete now."""
        now = self.clock.at
        query = MetricQuery(service=service, revision=revision, start=T0 + since, end=now, **fields)
        return list(await self.source.sample(query, now=now))

    async def counts(self, to: float, check: str = "error_rate", **fields: Any) -> dict[float, Evidence]:
        """Turn the clock until `T0 + to` is complete; start of each bucket after `T0` → its evidence."""
        await self.turn(to + LAG_S)
        return at(await self.ask(**fields), check)


def at(samples: Sequence[Sample], check: str) -> dict[float, Evidence]:
    """Start after `T0` → evidence of `check`, without who was behind it."""
    found = {s.start - T0: s.evidence for s in samples if s.check == check}
    return {start: replace(e, origins=()) if isinstance(e, Counts) else e for start, e in found.items()}


def total(found: dict[float, Evidence]) -> tuple[float, float]:
    """(bad, total) of all counts."""
    counts = [e for e in found.values() if isinstance(e, Counts)]
    return sum(c.bad for c in counts), sum(c.total for c in counts)


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    """A world in which nothing is tailed yet; `options` go to `LoggingServer`."""
    ledger, clock = Ledger(), TurnedClock()
    server = LoggingServer(ledger=ledger, **{"delivery_delay_s": 0.0, **options})
    port = await server.start("127.0.0.1", 0)
    source = RequestLog(LoggingClient(emulator_host=f"127.0.0.1:{port}"), clock)
    try:
        yield World(server, ledger, source, clock)
    finally:
        await source.close()
        await server.stop()
