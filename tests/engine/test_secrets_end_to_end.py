"""Secrets planted in the policy and the environment, a whole rollback, and a look at all that was sent and logged."""

import json
from dataclasses import asdict
from pathlib import Path

from tests.engine.world import BAD, DOWN, emulated, kept, policy_text
from watchdog.core.report import view
from watchdog.policy_file import parse_policy

HEADER = "PLANTEDprobetoken"


async def test_a_rollback_tells_no_secret_to_anybody(tmp_path: Path) -> None:
    text = policy_text().replace(
        "timeout: 300ms}", f"timeout: 300ms, headers: {{Authorization: Bearer {HEADER}, X-Api-Key: {HEADER}}}}}"
    )
    assert HEADER in text
    policy = parse_policy(text, Path("policy.yaml")).policy
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db", policy) as house:
        await cloud.deploy(BAD, DOWN)
        runner = await house.watching(BAD)
        watch = await house.ended(runner)
        assert watch.outcome == "rolled_back", watch.reason
        token = next(
            value for name, value in cloud.emulator.endpoints()["env"].items() if name.endswith("SLACK__TOKEN")
        )
        collected = cloud.emulator.collected
        sent = [asdict(entry) for channel in ("slack", "pagerduty", "smtp") for entry in collected.received(channel)]
        assert sent
        everything = json.dumps([sent, view(watch)]) + str(house.logs) + str(house.told)
    assert HEADER not in everything
    assert token not in everything
