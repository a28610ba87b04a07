"""Carries out what a watch asks for beyond traffic, each beside everything else and one at a time of its kind.

What is to be done follows from the watch alone, so a process that takes it up after a crash starts the same again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog

from watchdog.core import migration
from watchdog.core.commands import Command, RunJob, Scale
from watchdog.core.events import Event, JobRan, Scaled
from watchdog.core.scaling import current
from watchdog.core.state import Watch
from watchdog.engine.database import Undo
from watchdog.engine.scaling import Scaler
from watchdog.engine.tools import Tools

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Beyond:
    """A watch's actions beyond traffic. `spawn` starts a task of the watch, `put` hands over how one ended."""

    tools: Tools
    watch: Callable[[], Watch]
    owns: Callable[[], Awaitable[bool]]
    put: Callable[[Event], None]
    spawn: Callable[[str, Coroutine[Any, Any, None]], asyncio.Task[None]]
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def carry_out(self, command: Command) -> None:
        """Start what the command asks for; what is under way already is not started twice."""
        if isinstance(command, Scale):
            self._start("scale", self._scale)
        elif isinstance(command, RunJob):
            self._start("job", self._run_job)

    def take_up(self) -> None:
        """Go on with what was decided before this process had the watch."""
        attempt = current(self.watch())
        if attempt is not None and attempt.stage in {"writing", "reverting"}:
            self._start("scale", self._scale)

        if migration.running(self.watch()):
            self._start("job", lambda: self._run_job(doubtful=True))

    def tasks(self) -> list[asyncio.Task[None]]:
        """What is under way."""
        return [task for task in self._tasks.values() if not task.done()]

    def _start(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if name not in self._tasks or self._tasks[name].done():
            self._tasks[name] = self.spawn(name, work())

    async def _scale(self) -> None:
        scaler = Scaler(tools=self.tools, watch=self.watch(), owns=self.owns)
        try:
            scaled = await scaler.run()
        except Exception as error:  # noqa: BLE001 - supervision: said, and the rest goes on
            _log.exception("scaling_crashed", watch=self.watch().id)
            reason = f"a fault of the watchdog itself ended it ({type(error).__name__}: {error})"
            scaled = Scaled(at=self.tools.clock.now(), result="failed", reason=reason)
        if scaled is not None:
            self.put(scaled)

    async def _run_job(self, *, doubtful: bool = False) -> None:
        undo = Undo(tools=self.tools, watch=self.watch(), owns=self.owns, put=self.put, doubtful=doubtful)
        try:
            ran = await undo.run()
        except Exception as error:  # noqa: BLE001 - supervision: said, and the rest goes on
            _log.exception("job_crashed", watch=self.watch().id)
            reason = f"a fault of the watchdog itself ended the waiting ({type(error).__name__}: {error})"
            ran = JobRan(at=self.tools.clock.now(), result="failed", reason=reason)
        if ran is not None:
            self.put(ran)
