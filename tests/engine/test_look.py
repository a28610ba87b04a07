"""A hint from outside makes discovery sooner, and nothing else."""

import asyncio
from pathlib import Path

from tests.engine.world import BAD, NEXT, House, emulated, eventually, kept, policy


async def test_a_hint_finds_a_deploy_long_before_the_next_look_would(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db", policy(discover="1h")) as house:
        await cloud.deploy(NEXT)
        assert not house.runners
        await house.order("look", by="pubsub", reason="ready")

        runner = await house.watching(NEXT)
        assert runner.watch.deploy.revision == NEXT
        await taken(house)


async def test_a_hint_without_a_change_of_traffic_opens_nothing_and_is_taken(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db", policy(discover="1h")) as house:
        await cloud.deploy(BAD, traffic=False)
        seen = house.keeper.state
        await house.order("look", by="pubsub", reason="changed")

        await eventually(lambda: house.keeper.state is not seen, "the look")
        await taken(house)
        assert not house.runners
        assert not house.logged("letter_unknown")


async def taken(house: House) -> None:
    """Until no letter to the service waits."""
    async with asyncio.timeout(40):
        while await house.store.letters([house.keeper.stream]):  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.02)
