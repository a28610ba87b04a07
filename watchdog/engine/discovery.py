"""Reads what Cloud Run serves: one list for all services of a project and region, within a budget of reads.

A get for each service would need 1,800 reads a minute for 300 of them; one list, shared by all keepers of a project and
region, needs six. A service that is alone there is read by itself, which costs the same and is not paged.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, inf

import structlog

from watchdog.core.model import ServiceKey, ServiceState
from watchdog.errors import PermanentError, WatchdogError
from watchdog.ports import Clock, TrafficControl

READS_PER_MIN = 60
"""Reads of discovery a minute for each project and region: a tenth of the smallest quota seen (600)."""
PAGE = 100
"""Services that one page of a list is reckoned to hold."""
FORBIDDEN = 403

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Area:
    """One project and region."""

    services: int
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    listed: Mapping[str, ServiceState] = field(default_factory=dict)
    error: WatchdogError | None = None
    """Why the newest list failed: told to everyone who waited for it, so that they do not all ask again."""
    began: float = -inf
    """When the newest list was asked for, monotonic seconds."""
    next_at: float = -inf
    """The budget's next free moment, monotonic seconds."""
    pages: int = 1
    one_by_one: bool = False
    """The list was refused for good, so each service is read by itself."""


class Discovery:
    """Shared by the keepers of one process."""

    def __init__(self, clock: Clock, traffic: TrafficControl, keys: Sequence[ServiceKey]) -> None:
        self._clock = clock
        self._traffic = traffic
        self._areas: dict[tuple[str, str], _Area] = {}
        for key in keys:
            self._area(key).services += 1

    async def look(self, key: ServiceKey, *, newer_than: float) -> tuple[ServiceState, float]:
        """The service as it was read after `newer_than` (monotonic seconds), and when that read began.

        Raises as `TrafficControl` does; 404 when the list does not hold the service.
        """
        area = self._area(key)
        if area.services > 1 and not area.one_by_one:
            async with area.lock:
                if area.began <= newer_than:
                    await self._list(area, key)
            if not area.one_by_one:
                return self._listed(area, key), area.began
        if area.services > 1:
            await self._wait(area, 1)
        began = self._clock.monotonic()
        return await self._traffic.read(key), began

    def _area(self, key: ServiceKey) -> _Area:
        return self._areas.setdefault((key.project, key.region), _Area(services=0))

    def _listed(self, area: _Area, key: ServiceKey) -> ServiceState:
        if area.error is not None:
            raise area.error
        found = area.listed.get(key.name)
        if found is None:
            raise PermanentError(f"{key}: Cloud Run lists no such service there; check the policy", status=404)
        return found

    async def _list(self, area: _Area, key: ServiceKey) -> None:
        await self._wait(area, area.pages)
        area.began = self._clock.monotonic()
        area.error = None
        try:
            found = await self._traffic.list_services(key.project, key.region)
        except PermanentError as error:
            if error.status == FORBIDDEN:
                area.one_by_one = True
                todo = "grant run.services.list on the project; until then each service is read by itself, seldom"
                _log.warning("services_not_listed", project=key.project, region=key.region, error=str(error), todo=todo)
            area.error = error
        except WatchdogError as error:
            area.error = error
        else:
            area.listed = {state.name: state for state in found}
            area.pages = max(1, ceil(len(found) / PAGE))

    async def _wait(self, area: _Area, reads: int) -> None:
        """Until the budget has room for so many reads."""
        now = self._clock.monotonic()
        start = max(now, area.next_at)
        area.next_at = start + reads * 60.0 / READS_PER_MIN
        if start > now:
            await self._clock.sleep(start - now)
