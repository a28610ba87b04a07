"""The promised times, with the policy that they are promised for, by the emulator's own clock."""

import asyncio
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.drills.world import FAILING, HANG, SERVICE, STOP_S, Cloud, daemon
from tests.engine.world import eventually, policy_text, starved

pytestmark = [pytest.mark.drill, pytest.mark.timeout(150)]
BAD = f"{SERVICE}-bad"
EVERY_S, TIMEOUT_S, FAILURES = 1.0, 1.0, 3
ANSWER_TO_WRITE_S = (FAILURES - 1) * EVERY_S + TIMEOUT_S + 2.0
SIGNAL_TO_WRITE_S = 3.0
PROMISED = policy_text(every="1s", timeout="1s", failures=3)


async def test_from_the_first_failed_answer_to_the_write_while_slack_hangs(cloud: Cloud, tmp_path: Path) -> None:
    """A channel that hangs delays neither a probe nor a decision, nor the other channel, nor the end."""
    await cloud.behave("slack", kind="hang")
    async with daemon(cloud, tmp_path, text=PROMISED) as dog:
        await cloud.deploy("bad")
        await probed(cloud)
        async with starved() as lost_s:
            await cloud.afflict(BAD, FAILING)
            (write,) = await eventually(cloud.writes, "the write")
        failed = [r for r in await cloud.requests() if r["revision"] == BAD and r["status"] == 503]
        assert write["at"] - failed[0]["ended_at"] <= ANSWER_TO_WRITE_S + lost_s()
        page = await eventually(lambda: first(cloud), "the page")
        assert page["event_action"] == "trigger"
        assert (await dog.ended(BAD))["outcome"] == "rolled_back"
        passed = [r["ended_at"] for r in await cloud.requests() if r["revision"] == BAD and r["status"] == 200]
        assert max(b - a for a, b in pairwise([*passed, failed[0]["ended_at"]])) < 2 * EVERY_S + lost_s()
        assert await dog.process.stop() <= STOP_S


async def probed(cloud: Cloud) -> None:
    """Until the new revision has answered a few probes."""

    async def enough() -> bool:
        return len([r for r in await cloud.requests() if r["revision"] == BAD]) >= 3

    await eventually(enough, "a few probes")


async def first(cloud: Cloud) -> Mapping[str, Any] | None:
    return next(iter(await cloud.pages()), None)


async def test_a_service_that_hangs_is_no_slower_to_find(cloud: Cloud, tmp_path: Path) -> None:
    async with daemon(cloud, tmp_path, text=PROMISED) as dog:
        await cloud.deploy("bad")
        await probed(cloud)
        async with starved() as lost_s:
            await cloud.afflict(BAD, HANG)
            (write,) = await eventually(cloud.writes, "the write")
        (said,) = dog.process.logged("probe_failed")
        assert said["reason"] == "timeout"
        (decided,) = dog.process.logged("decision")
        assert decided["level"] == "warning", "an incident is no piece of information"
        answered = [r["ended_at"] for r in await cloud.requests() if r["revision"] == BAD and r["status"] == 200]
        assert write["at"] - (answered[-1] + EVERY_S + TIMEOUT_S) <= ANSWER_TO_WRITE_S + lost_s()
        assert (await dog.ended(BAD))["outcome"] == "rolled_back"


async def test_from_a_signal_to_the_write(cloud: Cloud, tmp_path: Path) -> None:
    async with daemon(cloud, tmp_path, text=PROMISED) as dog:
        await cloud.deploy("bad")
        watch = await dog.watch(BAD, "watching")
        before = (await cloud.requests())[-1]["ended_at"]
        body = {"signal": "database_corruption", "reason": "checksums differ", "by": "dba"}
        loop = asyncio.get_running_loop()
        sent = loop.time()
        async with starved() as lost_s:
            status, _ = await dog.ask("POST", f"/api/v1/watches/{watch['id']}/signals", body)
            assert status == 202
            (write,) = await eventually(cloud.writes, "the write")
        assert loop.time() - sent <= SIGNAL_TO_WRITE_S + lost_s()
        assert write["at"] > before
        ended = await dog.ended(BAD)
        assert ended["outcome"] == "rolled_back"
        assert "dba says database corruption: checksums differ" in ended["reason"]
