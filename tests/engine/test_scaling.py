"""The write of a scale-up against the emulated Cloud Run: races, lost answers, and other people's words."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

from tests.actions.test_cloud_run import KEY, settled
from tests.core.test_scaling import scaling
from watchdog.actions.cloud_run import CloudRun
from watchdog.core.events import Scaled
from watchdog.core.model import Split, Value
from watchdog.core.state import Watch
from watchdog.emulator.gate import AdminFault
from watchdog.emulator.options import Options
from watchdog.emulator.server import Emulator
from watchdog.engine.clock import SystemClock
from watchdog.engine.scaling import Scaler
from watchdog.engine.tools import Tools
from watchdog.settings import load_settings
from watchdog.transport import open_session


class World:
    """An emulated service of at most 4 instances, and a watch of it that asks for more."""

    def __init__(self, emulator: Emulator, control: CloudRun, watch: Watch) -> None:
        self.emulator, self.control, self.watch = emulator, control, watch

    async def scale(self, *, owned: bool = True) -> Scaled | None:
        async def owns() -> bool:
            return owned

        tools = cast("Tools", SimpleNamespace(traffic=self.control, clock=SystemClock()))
        return await Scaler(tools=tools, watch=self.watch, owns=owns).run()

    def reverting(self) -> None:
        attempt = replace(self.watch.scalings[-1], stage="reverting", before=4, after=6)
        self.watch = replace(self.watch, scalings=(attempt,))

    @property
    def writes(self) -> int:
        return sum(w.applied and "deploy-watchdog" in w.user_agent for w in self.emulator.world.write_log)

    def maximum(self, most: int | None) -> None:
        self.emulator.director.set_maximum(self.emulator.director.service(KEY.name).key, most)


@asynccontextmanager
async def world(mode: str = "automatic") -> AsyncIterator[World]:
    async with Emulator(Options(startup_s=0.01, routing_delay_s=0.02)) as emulator, open_session() as session:
        control = CloudRun.from_settings(session, load_settings(emulator.endpoints()["env"]), None)
        state = await settled(control)
        drive = scaling(mode)
        clock = SystemClock()
        watch = replace(
            drive.watch,
            deploy=replace(drive.watch.deploy, service=KEY, revision=state.latest_ready),
            split=Split.of({state.latest_ready: 100}),
            instances=((clock.now() - 60.0, 4.0),),
        )
        drive.watch = watch
        for minute in range(1, 5):
            drive.sample("cpu_usage", Value(0.95), minute * 60, minute * 60 + 60, revision=state.latest_ready)
        found = World(emulator, control, drive.watch)
        found.maximum(4)
        yield found


async def test_a_lost_race_is_judged_afresh() -> None:
    async with world() as w:
        w.emulator.gate.arm(AdminFault(kind="race", on="writes", count=1))
        scaled = await w.scale()
        assert scaled is not None
        assert (scaled.result, scaled.before, scaled.after) == ("done", 4, 6)
        assert (await w.control.read(KEY)).max_instances == 6


async def test_an_answer_that_is_lost_is_not_asked_for_twice() -> None:
    async with world() as w:
        w.emulator.gate.arm(AdminFault(kind="drop", on="writes", count=1, after=True))
        scaled = await w.scale()
        assert scaled is not None
        assert (scaled.result, scaled.before, scaled.after) == ("done", 4, 6)
        again = await w.scale()  # as a process does that takes it up after a kill
        assert again is not None
        assert (again.result, again.after) == ("done", 6)
        assert "had landed" in again.reason
        assert w.writes == 1


async def test_who_does_not_own_the_watch_writes_nothing() -> None:
    async with world() as w:
        assert await w.scale(owned=False) is None
        assert w.writes == 0


async def test_modes_that_do_not_write() -> None:
    for mode, result in (("observe", "observed"), ("approve", "asked")):
        async with world(mode) as w:
            scaled = await w.scale()
            assert scaled is not None
            assert (scaled.result, scaled.before, scaled.after) == (result, 4, 6)
            assert w.writes == 0
            attempt = replace(w.watch.scalings[-1], by="ada")
            w.watch = replace(w.watch, scalings=(attempt,))
            scaled = await w.scale()
            assert scaled is not None
            assert scaled.result == ("done" if mode == "approve" else "observed")


async def test_it_is_put_back_once_and_only_while_it_is_ours() -> None:
    async with world() as w:
        await w.scale()
        w.reverting()
        back = await w.scale()
        assert back is not None
        assert back.result == "reverted"
        assert (await w.control.read(KEY)).max_instances == 4
        again = await w.scale()
        assert again is not None
        assert again.result == "reverted"
        assert w.writes == 2


async def test_what_somebody_else_has_set_since_stands() -> None:
    async with world() as w:
        await w.scale()
        w.maximum(50)
        w.reverting()
        back = await w.scale()
        assert back is not None
        assert (back.result, back.after) == ("left", 50)
        assert "somebody else changed it since" in back.reason
        assert w.writes == 1


async def test_no_permission_is_said() -> None:
    async with world() as w:
        w.emulator.gate.may_write = False
        scaled = await w.scale()
        assert scaled is not None
        assert scaled.result == "failed"
        assert "run.services.update" in scaled.reason
