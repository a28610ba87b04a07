"""Users: an open-loop load generator against the public URL of a service.

Open loop means that a slow or failing service does not slow its users down: requests leave when they are due, whether
or not the last ones have come back. Requests that fall due while too many wait are counted as dropped, never hidden.
"""

import asyncio
import random
from collections import Counter
from typing import Annotated, Literal

import aiohttp
from pydantic import BaseModel, ConfigDict, Field

from watchdog.emulator.tasks import end_tasks

BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"

GRPC = "application/grpc"
USERS = "users"

USER_ROUTES: dict[str, float] = {
    "/api/v1/couriers": 5.0,
    "/api/v1/couriers/17": 2.0,
    "/api/v1/vehicles": 4.0,
    "/api/v1/assignments": 6.0,
    "/api/v1/attendance": 2.0,
    "/api/v1/auth/login": 1.0,
}


class LoadPlan(BaseModel):
    """What users do, as the control API and scenario files write it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    who: str = USERS
    """Who asks: a service has a load of each name, so that one client can misbehave beside everybody else."""
    rate_per_s: Annotated[float, Field(ge=0, le=2000)] = 0.0
    """Requests a second; 0 stops the load."""
    arrivals: Literal["poisson", "even"] = "poisson"
    routes: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=lambda: dict(USER_ROUTES), min_length=1)
    """Path → weight."""
    method: Literal["GET", "POST"] = "GET"
    grpc: bool = False
    """Unary gRPC calls instead: `POST` with the content type `application/grpc`."""
    user_agent: str = BROWSER
    timeout_s: Annotated[float, Field(gt=0, le=300)] = 5.0
    most_waiting: Annotated[int, Field(ge=1, le=2000)] = 256
    """Requests under way at a time; what falls due beyond that is dropped, and counted as such."""
    users: Annotated[int, Field(ge=1, le=65_536)] = 500
    """How many addresses the requests come from."""
    address: str = ""
    """The one address that they come from instead."""


class LoadGenerator:
    """Sends one plan's requests to one URL until `stop`."""

    def __init__(self, url: str, plan: LoadPlan, *, seed: int = 0) -> None:
        self.plan = plan
        self.sent = 0
        self.dropped = 0
        self.answers: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()
        self._url = url
        self._random = random.Random(f"{seed}/load" if plan.who == USERS else f"{seed}/load/{plan.who}")
        self._waiting: set[asyncio.Task[None]] = set()
        self._sender: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; the first request leaves after one interval."""
        self._sender = asyncio.create_task(self._send(), name=f"emulator load {self._url}")

    async def stop(self) -> None:
        """Stop sending and give up what is under way."""
        await end_tasks([*([self._sender] if self._sender is not None else []), *self._waiting])

    def report(self) -> dict[str, object]:
        """Counts since the start: sent, dropped, answers by status, errors by name."""
        return {
            "plan": self.plan.model_dump(),
            "sent": self.sent,
            "dropped": self.dropped,
            "answers": {str(status): count for status, count in sorted(self.answers.items())},
            "errors": dict(sorted(self.errors.items())),
        }

    async def _send(self) -> None:
        if self.plan.rate_per_s <= 0:
            return
        paths, weights = list(self.plan.routes), list(self.plan.routes.values())
        timeout = aiohttp.ClientTimeout(total=self.plan.timeout_s)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            loop = asyncio.get_running_loop()
            due = loop.time()
            while True:
                due += self._interval_s()
                await asyncio.sleep(due - loop.time())
                self.sent += 1
                if len(self._waiting) >= self.plan.most_waiting:
                    self.dropped += 1
                    continue
                path = self._random.choices(paths, weights)[0]
                task = asyncio.create_task(self._ask(session, path))
                self._waiting.add(task)
                task.add_done_callback(self._waiting.discard)

    def _interval_s(self) -> float:
        rate = self.plan.rate_per_s
        return self._random.expovariate(rate) if self.plan.arrivals == "poisson" else 1.0 / rate

    async def _ask(self, session: aiohttp.ClientSession, path: str) -> None:
        user = self._random.randrange(self.plan.users)
        address = self.plan.address or f"203.0.{user // 256}.{user % 256}"
        headers = {"User-Agent": self.plan.user_agent, "X-Forwarded-For": address}
        method = self.plan.method
        if self.plan.grpc:
            method, headers["Content-Type"] = "POST", GRPC
        try:
            async with session.request(method, self._url + path, headers=headers, allow_redirects=False) as answer:
                await answer.read()
                self.answers[answer.status] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            self.errors[type(error).__name__] += 1
