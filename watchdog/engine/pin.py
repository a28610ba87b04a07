"""What a rollback leaves behind: traffic is pinned, so later deploys get 0 % until somebody releases it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from watchdog.core import service as facts
from watchdog.core import traffic
from watchdog.core.model import ServiceState, Split
from watchdog.core.service import Fact
from watchdog.errors import PermanentError

if TYPE_CHECKING:
    from watchdog.engine.keeper import Keeper

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Pin:
    """One service's pin."""

    keeper: "Keeper"

    async def follow(self, state: ServiceState) -> None:
        """After a look at the service: is the pin gone, and what was ordered for the next good revision due?"""
        keeper = self.keeper
        if keeper.service.pinned is not None and self._gone(state):
            _log.info("unpinned", service=str(keeper.key), split=str(state.split))
            await self._released()
        if keeper.service.release_on_next:
            await self._release_if_newer(state)

    async def release(self) -> None:
        """Undo the pin: traffic follows the latest revision again, as it did before the rollback."""
        keeper = self.keeper
        state = await keeper.read_now()
        await keeper.list_revisions()
        refused = self._why_not(state)
        if refused is not None:
            raise PermanentError(refused, status=412)
        split = traffic.released(state, self._kind_before(state))
        await keeper.tools.traffic.move(keeper.key, split, resource_version=state.resource_version, rolled_back="")
        _log.info("released", service=str(keeper.key), split=str(split))
        await self._released()
        keeper.look_soon()

    def _gone(self, state: ServiceState) -> bool:
        """Whether somebody else made traffic follow the latest revision again: the pin, and what was ordered for it,
        are history. While a rollback of ours is under way, what was read may be from before its write."""
        busy = any(r.watch.rollback is not None for r in self.keeper.runners.values())
        return not busy and all(any(s.latest for s in split.shares) for split in (state.split, state.desired))

    def _kind_before(self, state: ServiceState) -> Split | None:
        """Whether traffic followed the latest revision before it was pinned."""
        pinned = self.keeper.service.pinned
        if pinned is not None and not any(s.latest for s in pinned.shares):
            return Split.of({state.latest_ready: traffic.WHOLE})
        return None

    def _why_not(self, state: ServiceState) -> str | None:
        """None when traffic may follow the latest Ready revision; else why not."""
        keeper = self.keeper
        latest = next((r for r in keeper.revisions if r.name == state.latest_ready), None)
        return facts.why_not_release(keeper.service, state.latest_ready, latest, keeper.tools.clock.now())

    async def _release_if_newer(self, state: ServiceState) -> None:
        """`release --on-next`: unpin once a newer revision than the bad one is Ready."""
        keeper = self.keeper
        if keeper.service.pinned is None:
            await self._released()
            return
        await keeper.list_revisions()
        if state.split.revisions != {state.latest_ready} and self._why_not(state) is None:
            await self.release()

    async def _released(self) -> None:
        await self.keeper.remember(Fact(at=self.keeper.tools.clock.now(), kind="released", body={}))
