"""Two daemons on one SQLite file and one service: one acts, whatever happens to the other."""

import asyncio
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.drills.world import DOWN, SERVICE, Cloud, Process, daemon
from tests.engine.world import eventually, policy_text

pytestmark = [pytest.mark.drill, pytest.mark.timeout(150)]
BAD = f"{SERVICE}-bad"


async def test_a_stopped_owner_is_replaced_and_powerless_when_it_comes_back(cloud: Cloud, tmp_path: Path) -> None:
    text = policy_text(failures=8)
    database = f"sqlite:///{tmp_path / 'watchdog.db'}"
    async with (
        daemon(cloud, tmp_path, name="owner", database=database, text=text) as owner,
        daemon(cloud, tmp_path, name="heir", database=database, text=text, settle=False) as heir,
    ):
        await cloud.deploy("bad")
        await owner.watch(BAD, "watching")
        assert await owner.metric("watchdog_leader") == 1.0
        assert await heir.metric("watchdog_leader") == 0.0
        await cloud.afflict(BAD, DOWN)
        await owner.watch(BAD, "confirming")
        await freeze(owner.process, tmp_path / "watchdog.db")
        watch = await heir.ended(BAD)
        assert watch["outcome"] == "rolled_back", watch["reason"]
        assert len(await cloud.writes(applied=False)) == 1
        owner.process.send(signal.SIGCONT)
        await eventually(lambda: owner.process.logged("service_taken_over"), "the owner knows")
        assert len(await cloud.writes(applied=False)) == 1, "the one that came back wrote nothing"
        pages = await cloud.pages()
        assert len({page["dedup_key"] for page in pages}) == 1
        assert [page["event_action"] for page in pages].count("trigger") == 1
        assert await owner.process.stop() <= 5.0
        assert await heir.process.stop() <= 5.0


async def test_the_owners_orderly_end_hands_its_watch_over_at_once(cloud: Cloud, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'watchdog.db'}"
    async with (
        daemon(cloud, tmp_path, name="owner", database=database) as owner,
        daemon(cloud, tmp_path, name="heir", database=database, settle=False) as heir,
    ):
        await cloud.deploy("bad")
        await owner.watch(BAD, "watching")
        await owner.process.stop()
        await eventually(lambda: heir.process.logged("watch_resumed"), "taken up", within_s=2.0)
        status, _ = await heir.ask("POST", f"/api/v1/watches/{(await heir.watch(BAD))['id']}/finish", {})
        assert status == 202
        assert (await heir.ended(BAD))["outcome"] in {"passed", "unverified"}
        assert not await cloud.writes()


async def freeze(process: Process, database: Path) -> None:
    """SIGSTOP it, but not inside a transaction: SQLite has no way to take a lock from a process that sleeps with it."""
    while True:
        process.send(signal.SIGSTOP)
        if await asyncio.to_thread(_writable, database):
            return
        process.send(signal.SIGCONT)
        await asyncio.sleep(0.01)


def _writable(database: Path) -> bool:
    with closing(sqlite3.connect(database, timeout=0.2, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
        return True
