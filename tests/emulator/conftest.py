from collections.abc import AsyncIterator

import pytest

from tests.emulator.cloud_world import Cloud, running_cloud


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    """A quick emulator with one good revision that serves everything."""
    async with running_cloud() as world:
        yield world
