"""The containers that run, by revision."""

from watchdog.emulator.app_log import AppLog
from watchdog.emulator.fleet_api import FleetApi
from watchdog.emulator.workload import Workload
from watchdog.emulator.world import Revision, ServiceKey


class Fleet:
    """Starts and stops workloads. A revision keeps its container until it is deleted: scaling to zero is scripted."""

    def __init__(self, *, seed: int = 0, lines: AppLog | None = None) -> None:
        self._seed = seed
        self._lines = lines or AppLog()
        self._workloads: dict[str, Workload] = {}
        self._databases: dict[ServiceKey, FleetApi] = {}

    async def start(self, revision: Revision) -> None:
        """Run the container of a revision."""
        await self.stop(revision)
        api = self._databases.setdefault(revision.key, FleetApi())
        workload = Workload(revision, seed=self._seed, api=api, lines=self._lines)
        self._workloads[revision.uid] = workload
        await workload.start()

    async def stop(self, revision: Revision) -> None:
        """End its container, if it runs."""
        workload = self._workloads.pop(revision.uid, None)
        if workload is not None:
            await workload.stop()

    async def stop_all(self) -> None:
        """End every container."""
        workloads = list(self._workloads.values())
        self._workloads.clear()
        self._databases.clear()
        for workload in workloads:
            await workload.stop()

    def wake(self, revision: Revision) -> None:
        """Its fault script has changed, or the script's clock has started."""
        workload = self._workloads.get(revision.uid)
        if workload is not None:
            workload.wake()

    def url(self, revision: Revision) -> str | None:
        """Where the container listens (or would, were it not down); None while there is no container."""
        workload = self._workloads.get(revision.uid)
        return None if workload is None else workload.url
