"""Drills between processes: a real emulator, real daemons and real `watch` commands that can be killed and stopped.

Everything here is told and asked over HTTP, signals and exit codes, as from outside. Whatever was started is killed by
its pid at the end.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.engine.world import PATIENCE_S, eventually, policy_text

REPOSITORY = Path(__file__).parents[2]
SERVICE = "barq-fleet-api"
TOKEN = "s3cret-for-drills"
START_S = 60.0
STOP_S = 5.0
"""SIGTERM to exit (DESIGN section 5)."""
LEASE_S = 1.0
DOWN = {"kind": "down"}
HANG = {"kind": "hang"}
FAILING = {"kind": "status", "status": 503}


@dataclass
class Process:
    """A process that we started, with its output in a file."""

    name: str
    popen: subprocess.Popen[bytes]
    output: Path
    """Standard output."""
    log: Path
    """Standard error."""

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.popen.poll()

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    async def exit(self, within_s: float) -> int:
        """Its exit code, awaited."""
        await eventually(lambda: self.code is not None, f"the end of {self.name}", within_s=within_s)
        assert self.code is not None
        return self.code

    async def stop(self) -> float:
        """SIGTERM; asserts exit code 0 and returns how many seconds it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.send(signal.SIGTERM)
        code = await self.exit(STOP_S + 5.0)
        took = loop.time() - began
        assert code == 0, self.said()
        return took

    async def kill(self) -> None:
        """SIGKILL."""
        self.send(signal.SIGKILL)
        await self.exit(5.0)

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The daemon's log lines of this event."""
        found = []
        for line in self.said().splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if entry.get("event") == event:
                    found.append(entry)
        return found

    def lines(self) -> list[dict[str, Any]]:
        """What it printed, one JSON object a line."""
        return [json.loads(line) for line in self.output.read_text(encoding="utf-8").splitlines() if line.strip()]


@contextmanager
def process(folder: Path, name: str, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Process]:
    """A Python process from the repository; killed at the end if it still runs, also when it was stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    output, log = folder / f"{name}.out", folder / f"{name}.log"
    with output.open("wb") as out, log.open("wb") as err:
        popen = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={**clean_environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    try:
        yield Process(name, popen, output, log)
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.wait()


def clean_environment() -> dict[str, str]:
    ours = ("WATCHDOG_", "CLOUD_", "COV_CORE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONPATH": str(REPOSITORY)}


# --- the cloud ----------------------------------------------------------------------------------------------------


@dataclass
class Cloud:
    """The emulator's control API."""

    endpoints: Mapping[str, Any]
    http: aiohttp.ClientSession

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        async with self.http.request(method, f"{self.endpoints['control']}/emulator/{path}", json=body) as answer:
            text = await answer.text()
            assert answer.status < 400, text
            return json.loads(text) if text else None

    async def reset(self, *, tagged: bool = True, service: str = SERVICE) -> None:
        """As freshly started, with a first good revision that LATEST follows, tagged `stable`."""
        await self.ask("POST", "reset", {})
        await self.ask("PATCH", "delays", {"routing_delay_s": 0.1, "startup_s": 0.02})
        if tagged:
            await self.tag_good(service)

    async def create(self, service: str, *, tagged: bool = True) -> None:
        """Another service with a good revision."""
        await self.ask("POST", "services", {"service": service, "revision": f"{service}-good", "wait": True})
        if tagged:
            await self.tag_good(service)

    async def tag_good(self, service: str) -> None:
        found = await self.state(service)
        body = {"service": service, "traffic": {"LATEST": 100}, "tags": {"stable": found["latest_ready"]}, "wait": True}
        await self.ask("POST", "traffic", body)

    async def deploy(self, name: str, *faults: Mapping[str, Any], service: str = SERVICE, **options: Any) -> str:
        """Deploy `SERVICE-name` and wait until it serves; returns the revision's name."""
        revision = f"{service}-{name}"
        body = {"service": service, "revision": revision, "image": f"{service}:{name}", "faults": list(faults)}
        await self.ask("POST", "deploy", {"wait": True, **body, **options})
        return revision

    async def afflict(self, revision: str, *faults: Mapping[str, Any]) -> None:
        await self.ask("PUT", f"revisions/{revision}/faults", {"faults": list(faults)})

    async def move(self, traffic: Mapping[str, int], *, service: str = SERVICE) -> None:
        """Somebody moves traffic."""
        await self.ask("POST", "traffic", {"service": service, "traffic": dict(traffic), "wait": True})

    async def state(self, service: str = SERVICE) -> dict[str, Any]:
        services = (await self.ask("GET", "services"))["services"]
        return next(found for found in services if found["name"] == service)

    async def split(self, service: str = SERVICE) -> dict[str, int]:
        found: dict[str, int] = (await self.state(service))["split"]
        return found

    async def disturb(self, **fault: Any) -> None:
        await self.ask("POST", "admin-faults", fault)

    async def calm(self) -> None:
        await self.ask("DELETE", "admin-faults")

    async def writes(self, service: str = SERVICE, *, applied: bool = True) -> list[dict[str, Any]]:
        """Writes to the Admin API: the watchdog's, and nobody else's. `applied` keeps those that took effect."""
        found = (await self.ask("GET", "admin-log"))["writes"]
        return [w for w in found if w["service"] == service and (w["applied"] or not applied)]

    async def requests(self) -> list[dict[str, Any]]:
        """Every request that a container answered."""
        found: list[dict[str, Any]] = (await self.ask("GET", "requests?since=0"))["requests"]
        return found

    async def pages(self, channel: str = "pagerduty") -> list[dict[str, Any]]:
        """What arrived and was taken in, oldest first; for PagerDuty without change events."""
        received = (await self.ask("GET", f"collectors/{channel}"))["received"]
        bodies = [entry["body"] for entry in received if entry["accepted"]]
        return [body for body in bodies if channel != "pagerduty" or "event_action" in body]

    async def behave(self, channel: str, **behaviour: Any) -> None:
        await self.ask("POST", f"collectors/{channel}/behaviours", behaviour)


@contextmanager
def emulator(folder: Path) -> Iterator[Mapping[str, Any]]:
    """An emulator's endpoints. Synchronous, so that a module can share one."""
    with _emulator(folder) as running:
        yield asyncio.run(_endpoints(running))


@asynccontextmanager
async def own_cloud(folder: Path) -> AsyncIterator[Cloud]:
    """An emulator of one's own, for what must not touch anybody else."""
    with _emulator(folder) as running:
        async with connected(await _endpoints(running)) as cloud:
            await cloud.reset()
            yield cloud


@contextmanager
def _emulator(folder: Path) -> Iterator[Process]:
    fast = ("--routing-delay", "0.1", "--startup", "0.02", "--sample-period", "5", "--ingest-delay", "1")
    arguments = ("-m", "watchdog.emulator", "--listen", "127.0.0.1:0", *fast)
    with process(folder, "emulator", *arguments) as running:
        yield running


async def _endpoints(running: Process) -> Mapping[str, Any]:
    def first_line() -> str:
        assert running.code is None, running.said()
        return running.output.read_text(encoding="utf-8")

    text = await eventually(lambda: first_line().endswith("\n") and first_line(), "the emulator", within_s=START_S)
    found: Mapping[str, Any] = json.loads(str(text).splitlines()[0])
    return found


@asynccontextmanager
async def connected(endpoints: Mapping[str, Any]) -> AsyncIterator[Cloud]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as http:
        yield Cloud(endpoints, http)


# --- the watchdog -------------------------------------------------------------------------------------------------


@dataclass
class Daemon:
    """`watchdog run`."""

    process: Process
    url: str
    http: aiohttp.ClientSession
    database: str

    async def ask(self, method: str, path: str, body: Any = None, *, token: str | None = TOKEN) -> tuple[int, Any]:
        """Status and decoded answer."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.http.request(method, self.url + path, json=body, headers=headers) as answer:
            text = await answer.text()
            decoded = json.loads(text) if "json" in (answer.content_type or "") and text else text
            return answer.status, decoded

    async def ready(self) -> bool:
        """Whether it keeps its services or stands by; False while it cannot be asked."""
        assert self.process.code is None, self.process.said()
        try:
            return (await self.ask("GET", "/readyz"))[0] == 200
        except aiohttp.ClientError:
            return False

    async def metric(self, sample: str) -> float | None:
        """The value of one sample on /metrics."""
        _, text = await self.ask("GET", "/metrics")
        return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(sample + " ")), None)

    async def watches(self) -> list[dict[str, Any]]:
        _, body = await self.ask("GET", "/api/v1/watches")
        found: list[dict[str, Any]] = body["watches"]
        return found

    async def watch(self, revision: str, *states: str, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """The watch of this revision, once it is in one of the states (any, when none is named)."""

        async def look() -> dict[str, Any] | None:
            for found in await self.watches():
                if found["revision"] == revision and (not states or found["state"] in states):
                    return found
            return None

        found = await eventually(look, f"a watch of {revision} in {states or 'any state'}", within_s=within_s)
        return dict(found)

    async def ended(self, revision: str, *, within_s: float = PATIENCE_S) -> dict[str, Any]:
        return await self.watch(revision, "ended", within_s=within_s)

    async def armed(self) -> None:
        """Until its probes have passed, so that they may roll back."""
        await eventually(lambda: self.process.logged("probes_seen"), "armed probes")


def environment(endpoints: Mapping[str, Any], database: str) -> dict[str, str]:
    return {
        **endpoints["env"],
        "WATCHDOG_DATABASE_URL": database,
        "WATCHDOG_LEASE_TTL": f"{LEASE_S:g}s",
        "WATCHDOG_API_TOKEN": TOKEN,
    }


@asynccontextmanager
async def daemon(
    cloud: Cloud, folder: Path, *, name: str = "daemon", database: str = "", text: str = "", settle: bool = True
) -> AsyncIterator[Daemon]:
    """A running daemon, ready and with armed probes. `database` is shared by giving it again."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - a test's own folder
    policy = folder / f"{name}.yaml"
    policy.write_text(text or policy_text(), encoding="utf-8")
    database = database or f"sqlite:///{folder / 'watchdog.db'}"
    env = {
        **environment(cloud.endpoints, database),
        "WATCHDOG_CONFIG": str(policy),
        "WATCHDOG_LISTEN": "127.0.0.1:0",  # a port chosen before it starts may be somebody else's by then
    }
    with process(folder, name, "-m", "watchdog", "run", env=env) as running:

        def listening() -> list[dict[str, Any]]:
            assert running.code is None, running.said()
            return running.logged("listening")

        (said,) = await eventually(listening, f"{name} listens", within_s=START_S)
        made = Daemon(running, said["url"], cloud.http, database)
        await eventually(made.ready, f"{name} is ready", within_s=START_S)
        if settle:
            await made.armed()
        yield made


@dataclass
class Watching:
    """`watchdog watch --json`."""

    process: Process
    exits: int | None = field(default=None)

    @property
    def events(self) -> list[str]:
        return [line["event"] for line in self.process.lines()]

    async def until(self, event: str, *, within_s: float = PATIENCE_S) -> None:
        """Until it has printed this event."""

        def printed() -> bool:
            assert self.process.code is None or event in self.events, self.story()
            return event in self.events

        await eventually(printed, f"the line {event}", within_s=within_s)

    def story(self) -> str:
        """Everything it said, for whoever reads a failure."""
        process = self.process
        return f"{process.name}: exit {process.code}\n{process.said()}\n{process.output.read_text()}"

    async def end(self, *, within_s: float = 2 * PATIENCE_S) -> tuple[int, dict[str, Any]]:
        """Its exit code and its last line."""
        code = await self.process.exit(within_s)
        lines = self.process.lines()
        return code, lines[-1] if lines else {}


@contextmanager
def watching(
    cloud: Cloud, folder: Path, *options: str, name: str = "watch", text: str = "", database: str = ""
) -> Iterator[Watching]:
    """A running `watch`."""
    folder.mkdir(parents=True, exist_ok=True)
    policy = folder / f"{name}.yaml"
    policy.write_text(text or policy_text(), encoding="utf-8")
    env = environment(cloud.endpoints, database or f"sqlite:///{folder / name}.db")
    arguments = ("-m", "watchdog", "watch", "--config", str(policy), "--json", *options)
    with process(folder, name, *arguments, env=env) as running:
        yield Watching(running)
