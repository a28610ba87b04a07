"""Keeps every service of the loaded policies, measures the engine's own health, and does the housekeeping."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from watchdog.core.model import ServiceKey
from watchdog.core.policy import Policy
from watchdog.engine.auditing import AUDIT_EVERY_S, Auditor, Beat
from watchdog.engine.discovery import Discovery
from watchdog.engine.idle import IDLE_PROBES_EVERY_S
from watchdog.engine.keeper import Keeper
from watchdog.engine.probing import watch_lateness
from watchdog.engine.regions import Regions
from watchdog.engine.tools import Tools
from watchdog.errors import TemporaryError

KEEP_ENDED_S = 90 * 86_400.0
"""Ended watches are kept this long for `history`, `report` and `replay`."""
STORE_CHECK_EVERY_S = 10.0
RETENTION_EVERY_S = 3600.0

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """All services of one process."""

    tools: Tools
    policies: Sequence[Policy]
    discover: bool = True
    beat: Beat | None = None
    """Sends a heartbeat to somebody who waits for it."""
    auditor: Auditor = field(init=False)
    keepers: dict[ServiceKey, Keeper] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keys = [key for policy in self.policies for key in policy.service.keys]
        discovery = Discovery(self.tools.clock, self.tools.traffic, keys)
        for policy in self.policies:
            regions = Regions(self.tools, policy)
            for key in policy.service.keys:
                self.keepers[key] = Keeper(
                    tools=self.tools,
                    policy=policy,
                    key=key,
                    discovery=discovery,
                    discover=self.discover,
                    regions=regions,
                )
        self.auditor = Auditor(tools=self.tools, keepers=list(self.keepers.values()), ready=self.ready, beat=self.beat)

    async def run(self) -> None:
        """Keep all services until cancelled."""
        scheduler = self._housekeeping()
        scheduler.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(watch_lateness(self.tools), name="lateness")
                for key, keeper in self.keepers.items():
                    group.create_task(self._forever(keeper), name=f"keeper/{key}")
        finally:
            scheduler.shutdown(wait=False)

    async def _forever(self, keeper: Keeper) -> None:
        """A fault in one service's keeping must not end the others'."""
        while True:
            try:
                await keeper.run()
            except Exception as error:  # noqa: BLE001 - supervision: said, and the rest goes on
                cause = _cause(error)
                if isinstance(cause, TemporaryError):  # the store, most likely: no fault of ours
                    _log.warning("keeper_failed", service=str(keeper.key), error=str(cause))
                else:
                    _log.exception("keeper_crashed", service=str(keeper.key))
                await self.tools.clock.sleep(1.0)

    def _housekeeping(self) -> AsyncIOScheduler:
        """Jobs whose lateness changes no verdict. The settings are what research/probing-and-alerting.md section 7
        measured: without them a stalled loop loses every run."""
        scheduler = AsyncIOScheduler(
            timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )

        def every(seconds: float, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
            scheduler.add_job(job, "interval", seconds=seconds, id=job.__name__)

        every(STORE_CHECK_EVERY_S, self.check_store)
        every(RETENTION_EVERY_S, self.forget_old)
        if self.discover:
            every(AUDIT_EVERY_S, self.auditor.audit)
            every(IDLE_PROBES_EVERY_S, self.arm_probes)
        return scheduler

    async def check_store(self) -> None:
        """Does the store answer? Shown as a metric."""
        try:
            async with asyncio.timeout(self.tools.store_patience_s):
                await self.tools.store.ping()
        except (TemporaryError, TimeoutError):
            self.tools.metrics.store_up.set(0)
        else:
            self.tools.metrics.store_up.set(1)
        self.tools.metrics.leader.set(1 if any(k.owned for k in self.keepers.values()) else 0)

    async def forget_old(self) -> None:
        """Delete what belongs to watches that ended long ago."""
        try:
            gone = await self.tools.store.prune(ended_before=self.tools.clock.now() - KEEP_ENDED_S)
        except TemporaryError as error:
            _log.warning("retention_failed", error=str(error))
            return
        if gone:
            _log.info("old_watches_deleted", watches=gone)

    async def arm_probes(self) -> None:
        """Probe every service that is not being watched."""
        await asyncio.gather(*(k.idle.arm() for k in self.keepers.values() if k.owned))

    def ready(self) -> tuple[bool, str]:
        """Whether every service is kept by this process or known to be kept by another, and one sentence."""
        waiting = [str(key) for key, keeper in self.keepers.items() if not keeper.standby.is_set()]
        if waiting:
            return False, f"still starting: {', '.join(waiting)}"
        unread = [str(k) for k, keeper in self.keepers.items() if keeper.owned and keeper.state is None]
        if unread:
            return False, f"Cloud Run has not answered yet for {', '.join(unread)}"
        return True, "ready"


def _cause(error: Exception) -> Exception:
    """The first real error inside nested groups."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
