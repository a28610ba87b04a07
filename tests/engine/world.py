"""A whole watchdog in the test's own process, against the emulated cloud: real adapters, real store, real time.

Everything is as `watchdog run` builds it; a test may put a `GuardedStore` in front of the database to take it away.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, MutableMapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import process_time
from typing import Any, TypeVar, cast

from structlog.testing import capture_logs

from watchdog import ports
from watchdog.app import App, build, new_id
from watchdog.core.model import ServiceKey
from watchdog.core.policy import Policy
from watchdog.core.state import Watch
from watchdog.emulator.director import Release
from watchdog.emulator.faults import Fault
from watchdog.emulator.gate import AdminFault
from watchdog.emulator.listener import Listener
from watchdog.emulator.options import Options
from watchdog.emulator.server import Emulator
from watchdog.emulator.world import Revision, Service, Write
from watchdog.engine.keeper import Keeper
from watchdog.engine.runner import WatchRunner
from watchdog.engine.supervisor import Supervisor
from watchdog.engine.tools import Tools
from watchdog.errors import StoreUnavailableError
from watchdog.policy_file import parse_policy
from watchdog.settings import load_settings

KEY = ServiceKey(project="barq-fleet", region="us-central1", name="barq-fleet-api")
GOOD, BAD, NEXT = (f"{KEY.name}-{name}" for name in ("good", "bad", "next"))
T = TypeVar("T")

FAST = """\
version: 1
service: {{project: barq-fleet, region: us-central1, name: {name}, discover_every: {discover}, metrics_every: 500ms}}
windows:
  immediate:  {{until: 15m, probe_every: {probe_every}}}
  short_term: {{until: 60m, probe_every: 15s}}
  extended:   {{until: 24h, probe_every: 60s}}
confirm: {{failures: {failures}, every: {every}}}
probes:
  health: {{path: /health, expect: {{status: 200, json: {{status: healthy}}}}, timeout: {timeout}}}
success_criteria:
{criteria}
rollback:
  mode: {mode}
  warm: {warm}
  settle: {settle}
  verify_probes: 1
  trial: off
  cooldown: {cooldown}
  per_day: {per_day}
  immediately_if:
    - "health_check failing"
    - signal: database_corruption
"""


def policy_text(**changes: object) -> str:
    """A policy that decides within a second. `criteria` are lines of `success_criteria`."""
    values: dict[str, object] = {
        "name": KEY.name,
        "discover": "200ms",
        "every": "300ms",
        "timeout": "300ms",
        "failures": 3,
        "criteria": '  - {metric: health_check, target: "100%", action: rollback}',
        "mode": "automatic",
        "warm": "500ms",
        "settle": "100ms",
        "cooldown": "0s",
        "per_day": 100,
    }
    values |= changes
    values.setdefault("probe_every", values["every"])
    return FAST.format(**values)


def policy(**changes: object) -> Policy:
    return parse_policy(policy_text(**changes), Path("policy.yaml")).policy


PATIENCE_S = 40.0
"""What must happen, but within no promised time, is waited for this long: the machine may be busy with other tests."""


async def eventually(look: Callable[[], Any], what: str, *, within_s: float = PATIENCE_S) -> Any:
    """Poll until `look` gives something true, and return that."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while True:
        found = look()
        value = await found if isinstance(found, Awaitable) else found
        if value:
            return value
        if loop.time() > end:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        await asyncio.sleep(0.02)


@asynccontextmanager
async def starved() -> AsyncIterator[Callable[[], float]]:
    """How many seconds this process wanted to run and did not, because the machine was busy with others.

    A bound in real time is promised to a process that gets its turn. What the process computed itself in the meantime
    is not counted, so a bound that we break ourselves stays broken.
    """
    loop = asyncio.get_running_loop()
    lost_s = 0.0

    async def tick() -> None:
        nonlocal lost_s
        while True:
            began, worked = loop.time(), process_time()
            await asyncio.sleep(TICK_S)
            lost_s += max(0.0, loop.time() - began - TICK_S - (process_time() - worked))

    ticking = asyncio.create_task(tick(), name="starved")
    try:
        yield lambda: lost_s
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)


TICK_S = 0.02


async def all_at_once(cases: Mapping[str, Coroutine[Any, Any, None]]) -> None:
    """Play cases that mostly wait, three at a time; a failure names its case."""
    turn = asyncio.Semaphore(3)

    async def play(name: str, case: Coroutine[Any, Any, None]) -> None:
        try:
            async with turn:
                await case
        except Exception as error:
            error.add_note(f"case: {name}")
            raise

    async with asyncio.TaskGroup() as group:
        for name, case in cases.items():
            group.create_task(play(name, case), name=name)


# --- the cloud ----------------------------------------------------------------------------------------------------


@dataclass
class Cloud:
    """The emulated world, with the few moves that tests make."""

    emulator: Emulator

    @property
    def service(self) -> Service:
        return self.emulator.director.service(KEY.name)

    @property
    def split(self) -> dict[str, int]:
        return self.service.split()

    @property
    def front(self) -> Listener:
        """The service's public port, to close and to open."""
        return self.emulator._splitter._listener(self.service.key, "")

    @property
    def writes(self) -> list[Write]:
        """Writes through the Admin API, oldest first: all of them are the watchdog's."""
        return list(self.emulator.world.write_log)

    @property
    def landed(self) -> list[Write]:
        return [w for w in self.writes if w.applied]

    async def deploy(self, name: str, *faults: Fault, settle: bool = True, **options: Any) -> Revision:
        revision = await self.emulator.director.deploy(
            Release(revision=name, image=f"{name}:1", faults=faults, **options)
        )
        if settle:
            await self.emulator.director.settle(revision.key)
        return revision

    async def move(self, **traffic: int) -> None:
        """Somebody moves traffic: `good=90, bad=10`; `LATEST` follows."""
        percents = {name if name == "LATEST" else f"{KEY.name}-{name}": percent for name, percent in traffic.items()}
        await self.emulator.director.move_traffic(self.service.key, percents)

    def meanwhile(self, **traffic: int) -> None:
        """`move`, without waiting for the ports of new tags: may be called from a callback."""
        percents = {name if name == "LATEST" else f"{KEY.name}-{name}": percent for name, percent in traffic.items()}
        self.emulator.director.write_traffic(self.service.key, percents)

    def cure(self, name: str) -> None:
        self.emulator.director.set_faults(name, ())

    def afflict(self, name: str, *faults: Fault) -> None:
        self.emulator.director.set_faults(name, faults)

    async def disturb(self, **fault: Any) -> None:
        """A fault of the Admin API."""
        self.emulator.gate.arm(AdminFault(**fault))
        await self.emulator.apply_gate()

    async def calm(self) -> None:
        self.emulator.gate.clear()
        await self.emulator.apply_gate()

    def pages(self) -> list[dict[str, Any]]:
        """What PagerDuty took in, oldest first; change events left out."""
        entries = self.emulator.collected.received("pagerduty")
        return [dict(e.body) for e in entries if e.accepted and "event_action" in e.body]


DOWN = Fault(kind="down")


@asynccontextmanager
async def emulated(*, tagged: bool = True, **options: Any) -> AsyncIterator[Cloud]:
    """The emulated cloud with one good revision that LATEST follows; its tag URL is the control."""
    first = Release(revision=GOOD, image=f"{GOOD}:1")
    settings = {"routing_delay_s": 0.1, "startup_s": 0.02, "sample_period_s": 5.0, "ingest_delay_s": 1.0, **options}
    async with Emulator(Options(first=first, **settings)) as emulator:
        cloud = Cloud(emulator)
        if tagged:
            await emulator.director.move_traffic(cloud.service.key, {"LATEST": 100}, tags={"stable": GOOD})
            await emulator.director.settle(cloud.service.key)
        yield cloud


# --- the watchdog -------------------------------------------------------------------------------------------------


class GuardedStore:
    """A real store that a test can take away: calls then fail at once, or hang until they are cancelled."""

    def __init__(self, store: ports.Store) -> None:
        self._store = store
        self.away = ""
        """Empty, `refuses` or `hangs`."""
        self.refuses_appends_to = ""
        """A stream that takes no events; everything else goes on."""
        self.for_good = False
        """Whether it stays as it is when the watchdog stops, as if its process were killed."""

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._store, name)
        if name in {"open", "close", "read"}:
            return inner

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.away == "refuses" or (name == "append" and args[0].stream == self.refuses_appends_to):
                raise StoreUnavailableError("the database refuses connections")
            if self.away == "hangs":
                await asyncio.sleep(3600)
            return await inner(*args, **kwargs)

        return call


@dataclass
class House:
    """A running watchdog."""

    app: App
    tools: Tools
    supervisor: Supervisor
    store: GuardedStore
    told: list[tuple[str, float, Mapping[str, Any]]]
    """Everything announced: event, Unix seconds, fields."""
    when: dict[str, Callable[[], None]]
    """Event → what the test does in the very moment it is announced, once."""
    logs: list[MutableMapping[str, Any]]
    """Every log line, as structlog's event dictionaries."""
    engine: asyncio.Task[None] = field(init=False)

    def logged(self, event: str) -> list[MutableMapping[str, Any]]:
        return [line for line in self.logs if line["event"] == event]

    @property
    def keeper(self) -> Keeper:
        return next(iter(self.supervisor.keepers.values()))

    @property
    def runners(self) -> list[WatchRunner]:
        return list(self.keeper.runners.values())

    def events(self, name: str) -> list[Mapping[str, Any]]:
        return [fields for event, _, fields in self.told if event == name]

    async def known(self) -> None:
        """Until the service was seen and its probes are armed, however busy the machine is elsewhere."""
        await eventually(lambda: self.keeper.owned and self.keeper.service.known, "service known")
        while not self.keeper.service.armed:
            await self.keeper.idle.arm()

    async def watching(self, revision: str, *, within_s: float = PATIENCE_S) -> WatchRunner:
        """Until a watch of the revision is open."""
        found: WatchRunner = await eventually(
            lambda: next((r for r in self.runners if r.watch.revision == revision), None),
            f"a watch of {revision}",
            within_s=within_s,
        )
        return found

    async def at(self, runner: WatchRunner, state: str, *, within_s: float = PATIENCE_S) -> Watch:
        """Until the watch is in this state."""
        await eventually(lambda: runner.watch.state == state, f"{state}, is {runner.watch.state}", within_s=within_s)
        return runner.watch

    async def ended(self, runner: WatchRunner, *, within_s: float = PATIENCE_S) -> Watch:
        await eventually(lambda: runner.watch.id not in self.keeper.runners, "the watch's end", within_s=within_s)
        return runner.watch

    async def journal(self, watch: str) -> list[ports.Record]:
        return [record async for record in self.store.read(f"watch/{watch}")]

    async def tell(self, runner: WatchRunner, kind: str, **body: Any) -> None:
        """Post a letter to a watch, as the API does."""
        await self.store.post(
            f"watch/{runner.watch.id}", key=new_id(), kind=kind, body=body, now=self.tools.clock.now()
        )

    async def announce(self, **body: Any) -> None:
        """Post a deploy notice, as the API does."""
        await self.store.post(self.keeper.stream, key=new_id(), kind="deploy", body=body, now=self.tools.clock.now())

    async def order(self, kind: str, **body: Any) -> None:
        """Post a letter to the service, as the API does."""
        await self.store.post(self.keeper.stream, key=new_id(), kind=kind, body=body, now=self.tools.clock.now())

    async def stop(self) -> None:
        """As SIGTERM does."""
        self.engine.cancel()
        await asyncio.gather(self.engine, return_exceptions=True)


_logs: list[MutableMapping[str, Any]] = []
_capturing = 0
_capture = ExitStack()


@contextmanager
def captured() -> Iterator[list[MutableMapping[str, Any]]]:
    """Log lines; watchdogs that run at the same time share one list, since structlog has one configuration. It is as it
    was when the last of them has ended, whoever was the first."""
    global _logs, _capturing  # noqa: PLW0603 - as global as what it stands for
    if not _capturing:
        _logs = _capture.enter_context(capture_logs())
    _capturing += 1
    try:
        yield _logs
    finally:
        _capturing -= 1
        if not _capturing:
            _capture.close()


async def looked(house: House, times: int = 3) -> None:
    """Until the keeper has read the service so many times more: what has not happened by then will not."""
    for _ in range(times):
        seen = house.keeper.state
        await eventually(lambda seen=seen: house.keeper.state is not seen, "another look")  # type: ignore[misc]


def environment(cloud: Cloud, database: Path | str) -> dict[str, str]:
    endpoints = cloud.emulator.endpoints()
    url = database if isinstance(database, str) else f"sqlite:///{database}"
    return {**endpoints["env"], "WATCHDOG_DATABASE_URL": url, "WATCHDOG_LEASE_TTL": "3s"}


@asynccontextmanager
async def kept(
    cloud: Cloud,
    database: Path,
    *policies: Policy,
    discover: bool = True,
    settle: bool = True,
    traffic_control: Callable[[ports.TrafficControl], Any] | None = None,
    **tools: Any,
) -> AsyncIterator[House]:
    """A running watchdog for the policies; `tools` override parts of `Tools`. Stopped at the end."""
    told: list[tuple[str, float, Mapping[str, Any]]] = []
    settings = load_settings(environment(cloud, database))
    when: dict[str, Callable[[], None]] = {}

    def follow(event: str, at: float, fields: Mapping[str, Any]) -> None:
        told.append((event, at, fields))
        if act := when.pop(event, None):
            act()

    async with AsyncExitStack() as stack:
        logs = stack.enter_context(captured())
        app = await stack.enter_async_context(build(settings, policies or [policy()], discover=discover, follow=follow))
        guarded = GuardedStore(app.store)
        if traffic_control is not None:
            tools["traffic"] = traffic_control(app.tools.traffic)
        changed = replace(app.tools, store=cast("ports.Store", guarded), **tools)
        supervisor = Supervisor(tools=changed, policies=policies or [policy()], discover=discover)
        house = House(app=app, tools=changed, supervisor=supervisor, store=guarded, told=told, when=when, logs=logs)

        async def run() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(app.outbox.run())
                group.create_task(supervisor.run())

        house.engine = asyncio.create_task(run(), name="house")
        try:
            if settle:
                await house.known()
            yield house
        except BaseException:
            for line in logs:
                print(line)  # noqa: T201 - what a person needs who reads the failure
            raise
        finally:
            guarded.away = guarded.away if guarded.for_good else ""
            await house.stop()
