"""Killed at the worst moment and started again, the watchdog goes on where it was, and writes at most once."""

from pathlib import Path

import pytest

from tests.drills.world import DOWN, SERVICE, Cloud, Daemon, daemon, own_cloud
from tests.engine.world import all_at_once, eventually, policy_text
from watchdog.core import service as facts
from watchdog.core.model import ServiceKey
from watchdog.store import make_store

pytestmark = [pytest.mark.drill, pytest.mark.timeout(150)]
KEY = ServiceKey(project="barq-fleet", region="us-central1", name=SERVICE)
BAD = f"{SERVICE}-bad"


MOMENTS = ("watching", "confirming", "before the write", "after the write", "verifying")


async def test_killed_at_any_moment_it_goes_on_and_writes_once(tmp_path: Path) -> None:
    """The journal has no gap, the bad revision and the pin are remembered, and exactly one write has landed."""

    async def alone(moment: str) -> None:
        folder = tmp_path / moment.replace(" ", "-")
        async with own_cloud(folder) as cloud:
            await kill(moment, cloud, folder)

    await all_at_once({moment: alone(moment) for moment in MOMENTS})


async def kill(moment: str, cloud: Cloud, tmp_path: Path) -> None:
    text = policy_text(failures=8 if moment == "confirming" else 3, settle="2s" if moment == "verifying" else "100ms")
    good = (await cloud.state())["latest_ready"]
    async with daemon(cloud, tmp_path, text=text) as first:
        await cloud.deploy("bad")
        await first.watch(BAD, "watching")
        await bring_to(moment, cloud, first)
        await first.process.kill()
        written = len(await cloud.writes())
        assert written == (1 if moment in {"after the write", "verifying"} else 0)
    await cloud.calm()
    await cloud.afflict(BAD, DOWN)
    async with daemon(cloud, tmp_path, name="again", text=text, settle=False) as second:
        watch = await second.ended(BAD)
        assert watch["outcome"] == "rolled_back", watch["reason"]
        assert second.process.logged("watch_resumed")
        assert len(await cloud.writes()) == 1
        assert await cloud.split() == {good: 100}
        await second.process.stop()
    await check_store(tmp_path, watch["id"], target=good)


async def bring_to(moment: str, cloud: Cloud, first: Daemon) -> None:
    if moment == "before the write":
        await cloud.disturb(kind="latency", latency_s=30, on="writes")
    if moment == "after the write":
        await cloud.disturb(kind="drop", on="writes", after=True)
    if moment != "watching":
        await cloud.afflict(BAD, DOWN)
    if moment == "confirming":
        await first.watch(BAD, "confirming")
    elif moment == "before the write":
        await first.watch(BAD, "rolling_back")
    elif moment == "after the write":
        await cloud.disturb(kind="latency", latency_s=1.0, on="reads")
        await eventually(cloud.writes, "the write")
    elif moment == "verifying":
        await first.watch(BAD, "verifying")


async def check_store(folder: Path, watch_id: str, *, target: str) -> None:
    store = make_store(f"sqlite:///{folder / 'watchdog.db'}")
    await store.open()
    try:
        records = [record async for record in store.read(f"watch/{watch_id}")]
        remembered = [facts.Fact(at=r.at, kind=r.kind, body=r.body) async for r in store.read(facts.stream(KEY))]
    finally:
        await store.close()
    assert [r.seq for r in records] == list(range(1, len(records) + 1))
    assert len({r.epoch for r in records}) == 2
    kinds = [r.kind for r in records]
    assert kinds.count("traffic_written") == 1
    assert "watch_resumed" in kinds
    service = facts.fold_all(KEY, remembered)
    assert set(service.bad_revisions) == {BAD}
    assert [revision for _, revision in service.rollbacks] == [target]
    assert service.pinned is not None
    assert service.pinned.percents() == {BAD: 100}
    assert service.pinned.shares[0].latest, "release restores what followed the latest"
