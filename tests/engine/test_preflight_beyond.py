"""Preflight says whether what the policy allows beyond traffic could be done, and does none of it."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.actions.test_cloud_run import KEY, settled
from tests.core.test_database_rollback import JOB
from tests.core.test_policy_build import policy_of
from watchdog.actions.cloud_run import CloudRun
from watchdog.core.policy import Policy
from watchdog.emulator.jobs import JobScript
from watchdog.emulator.options import Options
from watchdog.emulator.server import Emulator
from watchdog.engine.preflight_beyond import beyond
from watchdog.engine.tools import Tools
from watchdog.settings import load_settings
from watchdog.transport import open_session


async def found(policy: Policy, *, most: int | None = None, job: bool = False) -> list[tuple[str, str, str]]:
    async with Emulator(Options(startup_s=0.01, routing_delay_s=0.02)) as emulator, open_session() as session:
        control = CloudRun.from_settings(session, load_settings(emulator.endpoints()["env"]), None)
        await settled(control)
        emulator.director.set_maximum(emulator.director.service(KEY.name).key, most)
        if job:
            emulator.jobs._scripts[JOB] = JobScript()
        state = await settled(control)
        tools = cast("Tools", SimpleNamespace(jobs=control))
        said = await beyond(tools, policy, state, await control.revisions(KEY), state.latest_ready)
        assert not emulator.jobs.executions(JOB)
        return [(f.check, f.mark, f.detail) for f in said]


@pytest.mark.parametrize(
    "most, mark, said",
    [(None, "unknown", "the maximum of"), (4, "ok", "4 instances at most now, up to 20"), (30, "unknown", "no room")],
)
async def test_scaling_up(most: int | None, mark: str, said: str) -> None:
    row: dict[str, Any] = {"metric": "cpu_usage", "warning": "> 70%", "action": "scale_up"}
    policy = policy_of(alert_thresholds=[row], scale_up={"max_instances": 20})
    ((check, marked, detail),) = await found(policy, most=most)
    assert (check, marked) == ("scale_up", mark)
    assert said in detail


@pytest.mark.parametrize("there", [True, False])
async def test_the_job(there: bool) -> None:  # noqa: FBT001
    ((check, marked, detail),) = await found(policy_of(database_rollback={"job": JOB}), job=there)
    assert check == f"job {JOB}"
    assert marked == ("ok" if there else "unknown")
    assert ("never ran" in detail) is there


async def test_nothing_is_said_where_nothing_is_allowed() -> None:
    assert await found(policy_of()) == []
