"""After ten watches in observe mode: says once what automatic would have done, where everybody reads it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from watchdog.core import messages, observed
from watchdog.core import service as facts
from watchdog.core.escalation import concerns
from watchdog.core.observed import Observed
from watchdog.core.paging import silenced
from watchdog.core.state import Watch
from watchdog.errors import WatchdogError
from watchdog.ports import Delivery

if TYPE_CHECKING:
    from watchdog.engine.keeper import Keeper

KIND = "observed"
LOOKED_AT = 1000
"""Watches that are looked through, newest first."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Observing:
    """One service in observe mode."""

    keeper: "Keeper"

    async def ended(self, watch: Watch) -> None:
        """A watch has ended: is it time? What goes wrong here is logged; the next end tries again."""
        keeper = self.keeper
        observes = keeper.policy.rollback.mode == "observe" and not watch.known_bad
        if watch.open or not observes or keeper.service.summed_up:
            return
        try:
            found = await self._found()
            if len(found.turns) >= observed.ENOUGH:
                now = keeper.tools.clock.now()
                await keeper.remember(
                    facts.summed_up(now, watches=len(found.turns)), deliveries=self._deliveries(watch, found, now)
                )
        except WatchdogError as error:
            _log.warning("observed_not_summed_up", service=str(keeper.key), error=str(error))

    async def _found(self) -> Observed:
        key = self.keeper.key
        rows = await self.keeper.tools.store.watches(limit=LOOKED_AT)
        mine = [r.view for r in rows if (r.project, r.region, r.service) == (key.project, key.region, key.name)]
        return observed.of(mine)

    def _deliveries(self, watch: Watch, found: Observed, now: float) -> list[Delivery]:
        keeper = self.keeper
        body = messages.body(
            watch,
            KIND,
            severity="info",
            title=f"{len(found.turns)} deploys observed: {messages.place(watch)}",
            happened=observed.sentence(found),
            did="Nothing: this policy only observes.",
            over="`watchdog history` shows this again, with every later watch and mark.",
            todo=observed.advice(found),
            evidence=observed.lines(found),
        )
        if silenced(body, (*keeper.policy.silences, *keeper.service.silences), now) is not None:
            return []
        return [
            Delivery(
                key=f"{keeper.stream}:{KIND}",
                channel=channel,
                thread=f"{keeper.stream}:{KIND}",
                kind=KIND,
                created_at=now,
                body=body,
            )
            for channel in keeper.tools.channels
            if concerns(channel, body, keeper.policy.channels)
        ]
