"""One suite over three stores: what holds for one holds for all, or it is no contract."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.store import postgres
from watchdog.ports import Store
from watchdog.store import make_store


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgres.Server]:
    try:
        with postgres.running() as server:
            yield server
    except postgres.NotHereError as reason:
        pytest.skip(f"PostgreSQL: {reason}")


@pytest.fixture(scope="session")
def shared_database(postgresql: postgres.Server) -> str:
    return postgresql.new_database()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copied by each test: migrating is tested elsewhere, once."""
    file = tmp_path_factory.mktemp("store") / "watchdog.db"

    async def migrate() -> None:
        store = make_store(f"sqlite:///{file}")
        await store.open()
        await store.close()

    asyncio.run(migrate())
    return file


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind."""
    if request.param == "memory":
        return "memory:"
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path)
        return f"sqlite:///{tmp_path}/watchdog.db"
    server: postgres.Server = request.getfixturevalue("postgresql")
    shared: str = request.getfixturevalue("shared_database")
    server.clear(shared)
    return shared


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store that survives its process."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/watchdog.db"
    server: postgres.Server = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = make_store(url)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def twin(store: Store, url: str) -> AsyncIterator[Store]:
    """Another process's view of the same store (the same object where there is only one process)."""
    other = store if url == "memory:" else make_store(url)
    await other.open()
    yield other
    if other is not store:
        await other.close()
