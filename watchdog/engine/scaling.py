"""Writes the service's maximum of instances as a watch's attempt says, or puts it back: read, judge, compare and swap.

Whether it may be written is judged by `core.scaling_plan`. The mark that every such write leaves on the service says
whose it is: after a crash in between the same attempt finds its own write and does not raise the maximum twice.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import structlog

from watchdog.core import doubt
from watchdog.core.beyond import ScaleMark, Scaling
from watchdog.core.events import Scaled
from watchdog.core.model import RevisionState, ServiceState
from watchdog.core.scaling import current
from watchdog.core.scaling_plan import DAY_S, Keep, plan
from watchdog.core.state import Watch
from watchdog.engine.persistence import persistently
from watchdog.engine.tools import Tools
from watchdog.errors import PermanentError, TemporaryError

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Scaler:
    """The write that the watch's present attempt asks for."""

    tools: Tools
    watch: Watch
    owns: Callable[[], Awaitable[bool]]

    async def run(self) -> Scaled | None:
        """How it ended; None when another process owns the watch, or nothing is asked for any more."""
        attempt = current(self.watch)
        if attempt is None or attempt.stage not in {"writing", "reverting"}:
            return None
        work = self._raise if attempt.stage == "writing" else self._put_back
        return await persistently(
            lambda: work(attempt),
            what=f"scaling/{self.watch.id}",
            clock=self.tools.clock,
            owns=self.owns,
            failed=lambda reason: self._scaled("failed", reason, attempt.before, attempt.after),
        )

    async def _raise(self, attempt: Scaling) -> Scaled:
        key, now = self.watch.deploy.service, self.tools.clock.now()
        state, revision = await asyncio.gather(self.tools.traffic.read(key), self._revision())
        mark = state.scaled
        if mark is not None and self._is_ours(mark, attempt) and state.max_instances == mark.after:
            return self._scaled("done", "the write had landed, and its answer was lost", mark.before, mark.after)
        found = plan(self.watch, state, revision, now)
        if isinstance(found, Keep):
            return self._scaled("refused", found.reason, command=found.command)
        mode = doubt.mode(self.watch)
        would = f"it would raise the service's maximum from {found.before} to {found.after} instances ({found.room})"
        if mode == "observe" or (mode == "approve" and not attempt.by):
            result = "observed" if mode == "observe" else "asked"
            return self._scaled(result, would, found.before, found.after, command=found.command)
        recent = tuple(t for t in (mark.times if mark is not None else ()) if t > now - DAY_S)
        mine = ScaleMark(
            watch=self.watch.id,
            number=attempt.number,
            before=found.before,
            after=found.after,
            times=(*recent, now),
        )
        _log.info("scaling_up", watch=self.watch.id, before=found.before, after=found.after)
        await self._write(state, found.after, mine)
        return self._scaled("done", found.room, found.before, found.after, command=found.command)

    async def _put_back(self, attempt: Scaling) -> Scaled:
        """Only what is still as we wrote it: anybody else's word stands."""
        state = await self.tools.traffic.read(self.watch.deploy.service)
        mark, now = state.scaled, state.max_instances
        if mark is not None and not mark.watch and now == attempt.before:
            return self._scaled("reverted", "the write had landed, and its answer was lost", attempt.before, now)
        if mark is None or not self._is_ours(mark, attempt) or now != attempt.after:
            shown = str(now) if now else "not set"
            reason = f"somebody else changed it since (it is {shown}, and was raised to {attempt.after})"
            return self._scaled("left", reason, attempt.before, now)
        _log.info("scaling_back", watch=self.watch.id, before=attempt.after, after=attempt.before)
        await self._write(state, attempt.before, replace(mark, watch="", number=0, before=0, after=0))
        return self._scaled("reverted", "", attempt.before, attempt.before)

    async def _write(self, state: ServiceState, instances: int, mark: ScaleMark) -> None:
        await self.tools.traffic.scale(
            self.watch.deploy.service, instances, resource_version=state.resource_version, mark=mark
        )

    async def _revision(self) -> RevisionState | None:
        """The watched revision; None when it cannot be read, which is then the reason to keep still."""
        try:
            found = await self.tools.traffic.revisions(self.watch.deploy.service)
        except (TemporaryError, PermanentError) as error:
            _log.warning("revisions_unreadable", watch=self.watch.id, error=str(error))
            return None
        return next((r for r in found if r.name == self.watch.revision), None)

    def _is_ours(self, mark: ScaleMark, attempt: Scaling) -> bool:
        return (mark.watch, mark.number) == (self.watch.id, attempt.number)

    def _scaled(self, result: str, reason: str, before: int = 0, after: int = 0, *, command: str = "") -> Scaled:
        return Scaled(
            at=self.tools.clock.now(), result=result, reason=reason, before=before, after=after, command=command
        )
