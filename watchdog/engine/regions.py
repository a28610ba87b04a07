"""Knows what the other regions' watches say of a release: from the watches of this process, and from the read model
that all processes share.

Asked for, not told: what has happened in a region stands in its watch, so nothing is lost with a process that is killed
between a rollback there and its word to the others.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from watchdog.core import release, spread
from watchdog.core.events import FellElsewhere, Opened
from watchdog.core.policy import Policy
from watchdog.core.report import view
from watchdog.core.state import Watch
from watchdog.engine.tools import Tools
from watchdog.errors import TemporaryError
from watchdog.ports import WatchRow

if TYPE_CHECKING:
    from watchdog.engine.keeper import Keeper

ASK_EVERY_S: Final = 1.0
"""How often a region asks how the release fares in the others."""

EACH: Final = 4
"""Newest watches that are looked at, for each region of the policy."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Regions:
    """One policy's regions, as far as this process keeps them."""

    tools: Tools
    policy: Policy
    keepers: list["Keeper"] = field(default_factory=list)
    joining: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Two regions that see a release at once must not both be its first."""
    _unknown: bool = False
    """That the store does not answer was said."""

    @property
    def several(self) -> bool:
        """Whether there is more than one."""
        return len(self.policy.service.regions) > 1

    async def joined(self, opened: Opened) -> Opened:
        """The opening, as part of a release that another region watches already, if one does. A store that does not
        answer costs the common thread, never the watch."""
        if not self.several:
            return opened
        opened = replace(opened, notes=(*opened.notes, spread.scope(self.policy)))
        first = release.carrier(opened, map(_seen, await self._rows()), self.policy.service.regions)
        if first is None:
            return opened
        _log.info("release_joined", watch=opened.watch, release=first.release, region=first.region)
        notes = [release.joins(opened, first)]
        if spread.spreads(self.policy) and first.fingerprint != opened.deploy.fingerprint:
            notes.append(spread.apart(first.region))
        return replace(opened, release=first.release, notes=(*opened.notes, *notes))

    async def ask(self, watches: Sequence[Watch]) -> Mapping[str, FellElsewhere]:
        """Watch → that its release was rolled back in another region, where that counts."""
        waiting = [w for w in watches if w.open and w.elsewhere is None and spread.spreads(w.rules.policy)]
        if not waiting:
            return {}
        views: dict[str, Mapping[str, Any]] = {row.id: row.view for row in await self._rows()}
        views |= {r.watch.id: view(r.watch) for keeper in self.keepers for r in keeper.runners.values()}
        now = self.tools.clock.now()
        found = {w.id: spread.find(w, views.values(), now) for w in waiting}
        return {watch_id: event for watch_id, event in found.items() if event is not None}

    async def _rows(self) -> Sequence[WatchRow]:
        """The newest watches of the service, in all regions; none while the store does not answer."""
        service = self.policy.service
        try:
            async with asyncio.timeout(self.tools.store_patience_s):
                rows = await self.tools.store.watches(
                    of=(service.project, service.name), limit=EACH * len(service.regions)
                )
        except (TemporaryError, TimeoutError) as error:
            if not self._unknown:
                _log.warning("regions_unknown", service=service.name, error=str(error) or "the store does not answer")
            self._unknown = True
            return ()
        self._unknown = False
        return rows


def _seen(row: WatchRow) -> release.Seen:
    shown = row.view
    return release.Seen(
        watch=row.id,
        release=str(shown.get("release") or row.id),
        region=row.region,
        opened_at=row.opened_at,
        image=str(shown.get("image") or ""),
        fingerprint=str(shown.get("fingerprint") or ""),
        outcome=row.outcome or "",
    )
