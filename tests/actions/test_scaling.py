"""The service's maximum of instances is written by compare and swap, and makes no revision."""

from collections.abc import AsyncIterator

import pytest

from tests.actions.test_cloud_run import KEY, settled
from watchdog.actions import scaling
from watchdog.actions.cloud_run import CloudRun
from watchdog.core.beyond import ScaleMark
from watchdog.emulator.options import Options
from watchdog.emulator.server import Emulator
from watchdog.errors import ConflictError, PermanentError
from watchdog.settings import load_settings
from watchdog.transport import open_session

MARK = ScaleMark(watch="w1", number=1, before=4, after=8, times=(1.5, 2.25))


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(Options(startup_s=0.01, routing_delay_s=0.02)) as emulator:
        yield emulator


@pytest.fixture
async def control(emulator: Emulator) -> AsyncIterator[CloudRun]:
    async with open_session() as session:
        yield CloudRun.from_settings(session, load_settings(emulator.endpoints()["env"]), None)


async def test_no_revision_comes_of_it_and_traffic_stays(emulator: Emulator, control: CloudRun) -> None:
    before = await settled(control)
    assert before.max_instances == 0, "not set"
    await control.scale(KEY, 8, resource_version=before.resource_version, mark=MARK)
    after = await settled(control)
    assert (after.max_instances, after.scaled) == (8, MARK)
    assert after.split == before.split
    assert len(emulator.world.revisions) == 1
    assert [r.max_instances for r in await control.revisions(KEY)] == [100]


async def test_somebody_who_wrote_in_between_wins(emulator: Emulator, control: CloudRun) -> None:
    before = await settled(control)
    emulator.director.set_maximum(emulator.director.service(KEY.name).key, 50)
    with pytest.raises(ConflictError):
        await control.scale(KEY, 8, resource_version=before.resource_version, mark=MARK)
    assert (await settled(control)).max_instances == 50


async def test_a_rollback_afterwards_keeps_it(emulator: Emulator, control: CloudRun) -> None:
    before = await settled(control)
    scaled = await control.scale(KEY, 8, resource_version=before.resource_version, mark=MARK)
    moved = await control.move(KEY, before.split, resource_version=scaled.resource_version, rolled_back="x")
    assert (moved.max_instances, moved.scaled) == (8, MARK)


async def test_what_the_api_refuses_is_an_error(control: CloudRun) -> None:
    before = await settled(control)
    with pytest.raises(PermanentError, match="whole number"):
        await control.scale(KEY, -1, resource_version=before.resource_version, mark=MARK)


@pytest.mark.parametrize("text", ["", "0", "many", "-3", None])
def test_a_maximum_that_says_nothing_is_not_set(text: str | None) -> None:
    assert scaling.service_max({scaling.SERVICE_MAX: text}) == 0
    assert scaling.revision_max({scaling.REVISION_MAX: text}) == 0


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", '{"watch": 1, "number": "x"}'])
def test_a_mark_that_is_not_ours_is_none(text: str) -> None:
    assert scaling.scale_mark({scaling.SCALED: text}) is None
