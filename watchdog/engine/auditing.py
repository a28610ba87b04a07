"""Looks over our own shoulder: is somebody paged who should be, do messages leave, is every watch judged?

While all is well a heartbeat goes to an address outside, every minute. It stops when we are not well, or not there:
whoever waits for it wakes somebody by a way that does not lead through us.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog

from watchdog.engine.keeper import Keeper
from watchdog.engine.tools import Tools
from watchdog.errors import TemporaryError, WatchdogError
from watchdog.ports import WatchRow

Beat = Callable[[], Awaitable[None]]
"""Sends one heartbeat; raises a `WatchdogError` when it did not arrive."""

AUDIT_EVERY_S: Final = 60.0
OVERDUE_S: Final = 300.0
"""An escalation this late was forgotten: its watch is run by nobody, or judged by nobody."""
STUCK_S: Final = 600.0
"""A message that waits this long reaches nobody in time."""
STALE_S: Final = 120.0
"""A watch that was not judged for so long stands still; it is looked at every 15 s."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Auditor:
    """One process's. `beat` is None where nobody waits for a heartbeat."""

    tools: Tools
    keepers: Sequence[Keeper]
    ready: Callable[[], tuple[bool, str]]
    beat: Beat | None = None
    _said: frozenset[str] = field(default=frozenset())
    _silent: str = ""

    async def audit(self) -> None:
        """Look once, say what is new, and send the heartbeat if nothing is wrong."""
        wrong = await self.wrong()
        for sentence in wrong:
            if sentence not in self._said:
                _log.error("audit_found", problem=sentence)
        if self._said and not wrong:
            _log.info("audit_well")
        self._said = frozenset(wrong)
        if self.beat is not None and not wrong:
            await self._send(self.beat)

    async def _send(self, beat: Beat) -> None:
        try:
            await beat()
        except WatchdogError as error:
            if str(error) != self._silent:
                _log.warning("heartbeat_not_sent", error=str(error))
            self._silent = str(error)
        else:
            self._silent = ""

    async def wrong(self) -> list[str]:
        """What is not as it should be, a sentence each."""
        now = self.tools.clock.now()
        found: list[str] = []
        fine, why = self.ready()
        if not fine:
            found.append(why)
        for keeper in self.keepers:
            found += [
                f"watch {r.watch.id} has not been judged for {STALE_S:.0f} s"
                for r in keeper.runners.values()
                if r.watch.open and now - r.watch.at > STALE_S
            ]
        try:
            rows = await self.tools.store.watches(open_only=True)
            waiting = await self.tools.store.undelivered()
        except TemporaryError:
            return [*found, "the store does not answer"]
        found += [f"the escalation of watch {row.id} is overdue" for row in rows if _overdue(row, now)]
        late = sorted({d.channel for d in waiting if now - d.created_at > STUCK_S})
        found += [f"messages to {channel} have waited for more than {STUCK_S / 60:.0f} min" for channel in late]
        return found


def _overdue(row: WatchRow, now: float) -> bool:
    due = (row.view.get("incident") or {}).get("next_page_at")
    return due is not None and datetime.fromisoformat(due).timestamp() < now - OVERDUE_S
