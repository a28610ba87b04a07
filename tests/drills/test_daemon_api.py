"""What a pipeline and a person do through the daemon's API and its verbs, and what they are answered."""

from pathlib import Path

import pytest

from tests.drills.world import FAILING, SERVICE, TOKEN, Cloud, Daemon, daemon, process
from tests.engine.world import eventually, policy_text

pytestmark = [pytest.mark.drill, pytest.mark.timeout(150)]
KEY = {"project": "barq-fleet", "region": "us-central1", "service": SERVICE}


async def test_a_notice_opens_the_watch_before_discovery_does(cloud: Cloud, tmp_path: Path) -> None:
    async with daemon(cloud, tmp_path, text=policy_text(discover="2s")) as dog:
        revision = await cloud.deploy("new", percent=100)
        status, watch = await dog.ask("POST", "/api/v1/deploys", {**KEY, "revision": revision, "version": "2.0"})
        assert status == 201
        assert (watch["revision"], watch["version"]) == (revision, "2.0")
        status, same = await dog.ask("POST", "/api/v1/deploys", {**KEY, "revision": revision})
        assert (status, same["id"]) == (200, watch["id"])
        reads = (await cloud.ask("GET", "admin-log"))["reads"]
        await eventually(lambda: read_more(cloud, reads + 3), "discovery has looked")
        assert [found["id"] for found in await dog.watches()] == [watch["id"]]
        status, _ = await dog.ask("POST", "/api/v1/deploys", {**KEY, "revision": revision}, token=None)
        assert status == 401


async def read_more(cloud: Cloud, reads: int) -> bool:
    return bool((await cloud.ask("GET", "admin-log"))["reads"] >= reads)


async def test_the_pin_is_kept_over_a_restart_until_somebody_releases_it(cloud: Cloud, tmp_path: Path) -> None:
    bad = f"{SERVICE}-bad"
    async with daemon(cloud, tmp_path) as dog:
        await cloud.deploy("bad", FAILING)
        assert (await dog.ended(bad))["outcome"] == "rolled_back"
        await dog.process.stop()
    async with daemon(cloud, tmp_path, name="again", settle=False) as dog:
        status, problem = await dog.ask("POST", f"/api/v1/services/{SERVICE}/release", {})
        assert status == 412
        assert bad in problem["detail"]
        assert await verb(dog, tmp_path, "release", SERVICE) == 11
        status, answer = await dog.ask("GET", f"/api/v1/gate?service={SERVICE}&image={SERVICE}:bad")
        assert status == 200
        assert answer["allowed"] in {True, False}
        assert await verb(dog, tmp_path, "release", SERVICE, "--on-next") == 0
        new = await cloud.deploy("new")
        watch = await dog.watch(new)
        assert watch["previous"] != {bad: 100}
        assert await cloud.split() == {new: 100}


async def verb(dog: Daemon, folder: Path, *arguments: str) -> int:
    env = {"WATCHDOG_URL": dog.url, "WATCHDOG_API_TOKEN": TOKEN}
    with process(folder, f"verb-{arguments[-1]}", "-m", "watchdog", *arguments, env=env) as running:
        return await running.exit(20.0)
