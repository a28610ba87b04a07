"""One emulator a module, made as new for every drill."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest

from tests.drills import world


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Any]]:
    with world.emulator(tmp_path_factory.mktemp("emulator")) as found:
        yield found


@pytest.fixture
async def cloud(endpoints: Mapping[str, Any]) -> AsyncIterator[world.Cloud]:
    async with world.connected(endpoints) as found:
        await found.reset()
        yield found
