"""The job that undoes a migration runs at most once, whatever is lost on the way; against the emulated Cloud Run."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.core.drive import T0
from tests.core.test_database_rollback import JOB, migrated
from watchdog.actions import jobs
from watchdog.actions.cloud_run import CloudRun
from watchdog.core.events import JobRan
from watchdog.core.state import Watch
from watchdog.demo.virtual import LoopClock, run_virtually
from watchdog.emulator import clock as emulated
from watchdog.emulator.gate import AdminFault
from watchdog.emulator.jobs import JobScript
from watchdog.emulator.options import Options
from watchdog.emulator.server import Emulator
from watchdog.engine.database import Undo
from watchdog.engine.tools import Tools
from watchdog.settings import load_settings
from watchdog.transport import open_session


class World:
    """An emulated job, and a watch that asks for it."""

    def __init__(self, emulator: Emulator, control: CloudRun, watch: Watch) -> None:
        self.emulator, self.control, self.watch = emulator, control, watch
        self.told: list[JobRan] = []

    async def undo(self, *, doubtful: bool = False, owned: bool = True) -> JobRan | None:
        async def owns() -> bool:
            return owned

        tools = cast("Tools", SimpleNamespace(jobs=self.control, clock=LoopClock()))
        run = Undo(tools=tools, watch=self.watch, owns=owns, put=self.told.append, doubtful=doubtful)
        return await run.run()

    @property
    def runs(self) -> int:
        return len(self.emulator.jobs.executions(JOB))


@asynccontextmanager
async def world(**script: Any) -> AsyncIterator[World]:
    clock = LoopClock()
    with emulated.following(clock.now, clock.monotonic):
        async with Emulator(Options(empty=True)) as emulator, open_session() as session:
            control = CloudRun.from_settings(session, load_settings(emulator.endpoints()["env"]), None)
            emulator.jobs._scripts[JOB] = JobScript(**script)
            await asyncio.sleep(54.0)  # the watch has asked by now
            assert clock.now() >= T0
            yield World(emulator, control, migrated().watch)


def test_it_runs_once_and_its_end_is_waited_for() -> None:
    async def play() -> None:
        async with world(takes_s=20.0) as w:
            ran = await w.undo()
            assert ran is not None
            assert (ran.result, ran.execution) == ("succeeded", f"{JOB}-00001")
            assert [t.result for t in w.told] == ["running"]
            again = await w.undo(doubtful=True)  # as a process that takes it up after a kill does
            assert again is not None
            assert again.result == "succeeded"
            assert w.runs == 1

    run_virtually(play)


def test_an_answer_that_is_lost_is_looked_for_and_not_asked_for_again() -> None:
    async def play() -> None:
        async with world() as w:
            w.emulator.gate.arm(AdminFault(kind="drop", on="writes", count=1, after=True))
            ran = await w.undo()
            assert ran is not None
            assert ran.result == "succeeded"
            assert w.runs == 1

    run_virtually(play)


@pytest.mark.parametrize("killed", [False, True])
def test_what_cannot_be_proven_to_have_begun_is_left_to_a_person(killed: bool) -> None:  # noqa: FBT001
    async def play() -> None:
        async with world() as w:
            if not killed:
                w.emulator.gate.arm(AdminFault(kind="status", on="writes", status=503))
            ran = await w.undo(doubtful=killed)
            assert ran is not None
            assert ran.result == "failed"
            assert "it is not known whether it began" in ran.reason
            assert w.runs == 0

    run_virtually(play)


def test_how_it_fails_is_said() -> None:
    async def play() -> None:
        async with world(fails=True, message="alembic: no such revision") as w:
            ran = await w.undo()
            assert ran is not None
            assert (ran.result, ran.reason) == ("failed", "alembic: no such revision")
        async with world(takes_s=10_000.0) as w:
            ran = await w.undo()
            assert ran is not None
            assert "has not ended in time" in ran.reason
        async with world() as w:
            w.emulator.gate.may_write = False
            ran = await w.undo()
            assert ran is not None
            assert "run.jobs.run" in ran.reason
            assert await w.undo(owned=False) is None
            assert w.runs == 0

    run_virtually(play)


def test_an_execution_without_conditions_is_read_by_its_counts() -> None:
    raw = {"name": "a/b/x-1", "createTime": "2026-01-01T00:00:00Z"}
    assert jobs.execution(raw).succeeded is None
    assert jobs.execution({**raw, "completionTime": "2026-01-01T00:01:00Z", "succeededCount": 1}).succeeded is True
    assert jobs.execution({**raw, "completionTime": "2026-01-01T00:01:00Z", "cancelledCount": 1}).succeeded is False
    assert jobs.started({"done": True, "response": raw}).name == "x-1"
