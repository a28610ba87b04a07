"""Another process locks the database in the middle of an incident."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.drills.world import FAILING, SERVICE, STOP_S, Cloud, daemon
from tests.engine.world import eventually, policy_text
from watchdog.store import make_store

pytestmark = [pytest.mark.drill, pytest.mark.timeout(150)]
BAD = f"{SERVICE}-bad"
BOUND_S = (3 - 1) * 0.3 + 0.3 + 2.0
STORE_S = 2.0


@asynccontextmanager
async def locked(database: Path) -> AsyncIterator[None]:
    """What a backup that copies the file the wrong way does."""

    def lock() -> sqlite3.Connection:
        connection = sqlite3.connect(database, timeout=5.0, isolation_level=None, check_same_thread=False)
        connection.execute("BEGIN EXCLUSIVE")
        return connection

    connection = await asyncio.to_thread(lock)
    try:
        yield
    finally:
        await asyncio.to_thread(connection.close)


async def test_a_locked_database_delays_a_rollback_by_two_seconds_and_loses_nothing(
    cloud: Cloud, tmp_path: Path
) -> None:
    async with daemon(cloud, tmp_path) as dog:
        await cloud.deploy("bad")
        watch = await dog.watch(BAD, "watching")
        async with locked(tmp_path / "watchdog.db"):
            await cloud.afflict(BAD, FAILING)
            (write,) = await eventually(cloud.writes, "the write")
            failed = [r for r in await cloud.requests() if r["revision"] == BAD and r["status"] == 503]
            assert write["at"] - failed[0]["ended_at"] <= BOUND_S + STORE_S
            await eventually(lambda: dog.process.logged("watch_ended"), "it goes on without a store")
            assert dog.process.logged("store_away")
            assert await dog.metric("watchdog_store_up") == 0.0
        ended = await dog.ended(BAD)
        assert ended["outcome"] == "rolled_back"
        pages = await eventually(lambda: paged(cloud), "both pages, late")
        assert [page["event_action"] for page in pages] == ["trigger", "resolve"]
        assert len(await cloud.writes()) == 1
        await eventually(lambda: dog.process.logged("store_answers"), "said")
        await dog.process.stop()
    store = make_store(f"sqlite:///{tmp_path / 'watchdog.db'}")
    await store.open()
    records = [record async for record in store.read(f"watch/{watch['id']}")]
    await store.close()
    assert [r.seq for r in records] == list(range(1, len(records) + 1))
    assert [r.kind for r in records if r.kind == "traffic_written" and r.late] == ["traffic_written"]
    assert not records[0].late


async def paged(cloud: Cloud) -> list[dict[str, object]] | None:
    pages = await cloud.pages()
    return pages if len(pages) >= 2 else None


async def test_sigterm_ends_it_in_time_while_the_database_is_locked(cloud: Cloud, tmp_path: Path) -> None:
    async with daemon(cloud, tmp_path, text=policy_text(settle="30s")) as dog:
        await cloud.deploy("bad", FAILING)
        await dog.watch(BAD, "verifying")
        async with locked(tmp_path / "watchdog.db"):
            assert await dog.process.stop() <= STOP_S
