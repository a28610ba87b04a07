"""The paging benchmark's own world, small: the sender is killed between every pair of its steps."""

import asyncio
from pathlib import Path

import pytest

from benchmarks import paging
from watchdog.emulator.collector_behaviour import Behaviour

pytestmark = pytest.mark.timeout(120)


async def test_a_sender_killed_between_every_pair_of_its_steps_loses_nothing(tmp_path: Path) -> None:
    """Before and after a message is handed over, before and after the store is told: with real channels, of which one
    takes messages and loses its answers."""
    async with paging.world(tmp_path) as here:
        for n in range(3):
            await paging.put(here, f"w{n}")
        here.collected.behave("pagerduty", Behaviour(kind="lost_answer", calls=2))
        for step in range(1, 5):
            async with paging.sender(here, step) as process:
                assert await asyncio.wait_for(process.wait(), 30.0) == -9, "it died as it should"
        async with paging.sender(here):
            assert await paging.until_empty(here, 60.0)
        for channel in paging.NAMES:
            found = paging.tally(here, channel)
            assert (found.lost, found.disordered) == (0, 0), found
        assert paging.second_incidents(here) == 0
        assert paging.other_keys(here) == 0
