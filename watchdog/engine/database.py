"""Runs the job that undoes a migration, at most once, and waits for its end.

A run has no version to compare with, so the fence is the list of executions: one that began since the watch opened is
taken for ours, whoever started it. Where it is not known whether Cloud Run took our request (no answer, or a process
that was killed over it), the list is asked for a while, and what does not show up there is a person's affair: a
migration that is undone twice cannot be mended by a watchdog.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import structlog

from watchdog.core import migration
from watchdog.core.beyond import JobRun
from watchdog.core.events import JobRan
from watchdog.core.model import ServiceKey
from watchdog.core.state import Watch
from watchdog.engine.persistence import persistently
from watchdog.engine.tools import Tools
from watchdog.errors import TemporaryError
from watchdog.ports import Execution

LOOK_S = 2.0
DOUBT_S = 30.0
"""How long a run that nobody answered for may take to show up."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Undo:
    """The run that the watch asks for. `put` is told when it has begun; `doubtful` that it may have begun already."""

    tools: Tools
    watch: Watch
    owns: Callable[[], Awaitable[bool]]
    put: Callable[[JobRan], None]
    doubtful: bool = False

    async def run(self) -> JobRan | None:
        """How it ended; None when another process owns the watch, or nothing is asked for any more."""
        if not migration.running(self.watch) or self.watch.job is None:
            return None
        if self.tools.jobs is None:
            return self._ran("failed", "this process has no access to Cloud Run's jobs")
        run = self.watch.job
        found = await persistently(
            lambda: self._begun(run),
            what=f"job/{self.watch.id}",
            clock=self.tools.clock,
            owns=self.owns,
            failed=lambda reason: self._ran("failed", reason),
        )
        if found is None or isinstance(found, JobRan):
            return found
        if run.execution != found.name:
            self.put(self._ran("running", "", found.name))
        return await self._ended(found)

    async def _begun(self, run: JobRun) -> Execution | JobRan:
        """The execution: one that there is, else a new one, if none can have been asked for yet."""
        assert self.tools.jobs is not None  # noqa: S101 - the caller checked
        if (found := await self._there(run)) is not None:
            return found
        if self.doubtful:
            return await self._doubted(run)
        self.doubtful = True  # from here on, whatever comes back
        _log.info("job_asked_for", watch=self.watch.id, job=run.job)
        found = await self.tools.jobs.run_job(self.place, run.job, writer=self.watch.deploy.service)
        self.doubtful = False
        return found

    async def _doubted(self, run: JobRun) -> Execution | JobRan:
        give_up = self.tools.clock.monotonic() + DOUBT_S
        while self.tools.clock.monotonic() < give_up:
            await self.tools.clock.sleep(LOOK_S)
            if (found := await self._there(run)) is not None:
                return found
        return self._ran(
            "failed", "it is not known whether it began: no execution shows up, and it is not asked for again"
        )

    async def _there(self, run: JobRun) -> Execution | None:
        """The newest execution that may be ours."""
        assert self.tools.jobs is not None  # noqa: S101 - the caller checked
        executions = await self.tools.jobs.executions(self.place, run.job)
        ours = [e for e in executions if e.created_at >= run.since or e.name == run.execution]
        return max(ours, key=lambda e: e.created_at, default=None)

    async def _ended(self, found: Execution) -> JobRan:
        assert self.watch.job is not None  # noqa: S101 - the caller checked
        config = self.watch.rules.policy.database_rollback
        give_up = self.watch.job.asked_at + (config.within_s if config is not None else 0.0)
        jobs, run = self.tools.jobs, self.watch.job
        assert jobs is not None  # noqa: S101 - the caller checked
        while found.succeeded is None:
            if self.tools.clock.now() >= give_up:
                return self._ran("failed", "it has not ended in time, and may still run", found.name)
            await self.tools.clock.sleep(LOOK_S)
            try:
                known = await jobs.executions(self.place, run.job)
            except TemporaryError as error:
                _log.warning("job_unreadable", watch=self.watch.id, job=run.job, error=str(error))
                continue
            found = next((e for e in known if e.name == found.name), found)
        if found.succeeded:
            return self._ran("succeeded", "", found.name)
        return self._ran("failed", found.message or "it says nothing of why", found.name)

    @property
    def place(self) -> ServiceKey:
        """The project and region of the job."""
        return replace(self.watch.deploy.service, region=migration.region(self.watch))

    def _ran(self, result: str, reason: str, execution: str = "") -> JobRan:
        return JobRan(at=self.tools.clock.now(), result=result, reason=reason, execution=execution)
