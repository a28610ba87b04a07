"""A drill's world in one process: emulator, daemon and script on one loop, so that their time can be virtual.

Everything is what `watchdog run` builds: the real adapters, real HTTP and gRPC, the real web server. Only the database
is in memory, since a database's thread does not follow a clock that jumps.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import aiohttp

from watchdog.app import App, Machine, build, serve
from watchdog.demo.virtual import Attended, LoopClock
from watchdog.demo.world import DemoError, World
from watchdog.emulator import clock as emulated
from watchdog.emulator.options import Options
from watchdog.emulator.server import Emulator
from watchdog.engine.idle import IDLE_PROBES_EVERY_S
from watchdog.errors import StoreUnavailableError
from watchdog.policy_file import load_policy
from watchdog.ports import Source, Store
from watchdog.settings import load_settings
from watchdog.store import MemoryStore


class _Grip:
    """A store's connection of one daemon: `cut` is what `kill -9` does to it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.cut = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name == "read" or not self.cut:
            return found

        async def gone(*_args: Any, **_kwargs: Any) -> Any:
            raise StoreUnavailableError("this process was killed")

        return gone


@dataclass(slots=True, kw_only=True)
class InsideWorld(World):
    """A world whose daemon is a task."""

    store: Store = field(default_factory=MemoryStore)
    _grip: _Grip | None = None
    _task: asyncio.Task[None] | None = None

    async def start_daemon(self, *policies: str) -> None:
        """Build it and let it serve."""
        self.prepare(policies)
        self._grip = _Grip(self.store)
        started = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(self._grip, started), name="daemon")
        await asyncio.wait((started, self._task), return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            self._task.result()
        await self.ready()

    async def _run(self, grip: _Grip, started: "asyncio.Future[None]") -> None:
        settings = load_settings(self.environment)
        policies = [load_policy(path).policy for path in settings.config]
        own = cast("Store", grip)
        building = build(
            settings,
            policies,
            page_url=self.daemon,
            machine=Machine(clock=self.clock, wrap_source=_attended, id_token=self._id_token),
            store=own,
        )
        async with building as app:
            started.set_result(None)
            async with asyncio.TaskGroup() as group:
                group.create_task(_housekeeping(app), name="housekeeping")
                group.create_task(serve(app), name="serve")

    async def _id_token(self, audience: str) -> str:
        """From the emulated metadata server; Google's library asks it from a thread, and only once a process."""
        path = "/computeMetadata/v1/instance/service-accounts/default/identity"
        async with self.session.get(f"{self.control}{path}", params={"audience": audience}) as reply:
            return await reply.text()

    async def kill_daemon(self) -> None:
        """Nothing that it still wants to do on its way out reaches the store."""
        assert self._grip is not None  # noqa: S101 - it was started
        self._grip.cut = True
        task = self._task
        await self.stop_daemon()
        if task is not None and not task.cancelled():
            task.exception()  # what became of it on its way out is nobody's business

    async def stop_daemon(self) -> None:
        """As SIGTERM does."""
        task, self._task = self._task, None
        if task is None:
            return
        if task.done():
            task.result()
        task.cancel()
        await asyncio.wait((task,))

    def check_daemon(self) -> None:
        """Raise what ended it, if anything has."""
        if self._task is not None and self._task.done():
            self._task.result()
            raise DemoError("the daemon ended by itself")


def _attended(source: Source) -> Source:
    """A source answers from a library of its own, so virtual time waits for it."""
    return cast("Source", Attended(source))


async def _housekeeping(app: App) -> None:
    """What the scheduler does by the machine's clock, which knows nothing of ours."""
    while True:
        await app.tools.clock.sleep(IDLE_PROBES_EVERY_S)
        await app.supervisor.arm_probes()


@asynccontextmanager
async def open_inside(options: Options, folder: Path) -> AsyncIterator[InsideWorld]:
    """The emulated cloud and a world around it; its daemon is stopped at the end."""
    clock = LoopClock()
    with ExitStack() as stack:
        timeout = aiohttp.ClientTimeout(total=10)
        stack.enter_context(emulated.following(clock.now, clock.monotonic))
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            Emulator(options) as cloud,
        ):
            endpoints = cloud.endpoints()
            world = InsideWorld(
                session=session, control=endpoints["control"], endpoints=endpoints, folder=folder, clock=clock
            )
            try:
                yield world
            finally:
                await world.stop_daemon()
