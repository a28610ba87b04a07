"""Fixtures of the web tests."""

from collections.abc import AsyncIterator

import pytest

from tests.web.world import TOKEN, Site, serve


@pytest.fixture
def token() -> str | None:
    """The server's API token; a test may override it."""
    return TOKEN


@pytest.fixture
async def site(token: str | None) -> AsyncIterator[Site]:
    """A running server."""
    async with serve(token) as made:
        yield made
