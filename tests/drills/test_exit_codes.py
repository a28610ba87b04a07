"""`watchdog watch`, as a pipeline runs it: JSON lines, the last of them the end, and an exit code that tells how.

The drills of one test play at the same time, each on a service of its own, because most of their time is waiting.
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.drills.world import DOWN, FAILING, Cloud, daemon, watching
from tests.engine.world import eventually, policy_text

pytestmark = [pytest.mark.drill, pytest.mark.timeout(150)]
Drill = Callable[[Cloud, Path, str], Coroutine[Any, Any, None]]


async def passed(cloud: Cloud, folder: Path, service: str) -> None:
    """Healthy: exit 0, every line an object, the last one the end."""
    revision = await cloud.deploy("new", service=service)
    with watching(cloud, folder, "--revision", revision, "--until", "20s", text=policy_text(name=service)) as watch:
        code, last = await watch.end()
        assert (code, last["event"], last["outcome"]) == (0, "watch_ended", "passed"), watch.story()
        lines = watch.process.lines()
        assert lines[0]["event"] == "watch_opened"
        assert all(line["at"].endswith("Z") and line["watch"] == last["watch"] for line in lines)
        assert [line["event"] for line in lines].count("watch_ended") == 1
    assert not await cloud.writes(service)


async def rolled_back(cloud: Cloud, folder: Path, service: str) -> None:
    """Hard down, with a tag to ask the control: exit 10."""
    revision = await cloud.deploy("new", DOWN, service=service)
    good = f"{service}-good"
    options = ("--revision", revision, "--previous", f"{good}=100")
    with watching(cloud, folder, *options, text=policy_text(name=service)) as watch:
        code, last = await watch.end()
        assert (code, last["outcome"]) == (10, "rolled_back"), watch.story()
        assert last["undelivered"] == []
        steps = {"confirming", "decision", "traffic_written", "restored", "recovered"}
        events = [e for e in watch.events if e in steps]
        assert events == ["confirming", "decision", "traffic_written", "restored", "recovered"]
    assert await cloud.split(service) == {good: 100}
    assert len(await cloud.writes(service)) == 1


async def rolled_back_without_tags(cloud: Cloud, folder: Path, service: str) -> None:
    """Nobody named the previous split and nothing is tagged: it says so, and still rolls back."""
    revision = await cloud.deploy("new", DOWN, service=service)
    with watching(cloud, folder, text=policy_text(name=service)) as watch:
        code, last = await watch.end()
        assert (code, last["outcome"]) == (10, "rolled_back"), watch.story()
        opened = watch.process.lines()[0]
        assert opened["revision"] == revision
        notes = " ".join(opened["notes"])
        assert "is a guess" in notes
        assert "has no tag URL" in notes
    assert await cloud.split(service) == {f"{service}-good": 100}


async def overridden(cloud: Cloud, folder: Path, service: str) -> None:
    """A person moves traffic back: exit 12."""
    revision = await cloud.deploy("new", service=service)
    with watching(cloud, folder, "--revision", revision, text=policy_text(name=service)) as watch:
        await watch.until("cutover")
        await cloud.move({f"{service}-good": 100}, service=service)
        code, last = await watch.end()
        assert (code, last["outcome"]) == (12, "overridden"), watch.story()
    assert not await cloud.writes(service)


async def superseded(cloud: Cloud, folder: Path, service: str) -> None:
    """A newer deploy takes over: exit 12."""
    revision = await cloud.deploy("new", service=service)
    with watching(cloud, folder, "--revision", revision, text=policy_text(name=service)) as watch:
        await watch.until("cutover")
        await cloud.deploy("newer", service=service)
        code, last = await watch.end()
        assert (code, last["outcome"]) == (12, "superseded"), watch.story()
    assert not await cloud.writes(service)


async def not_safe(cloud: Cloud, folder: Path, service: str) -> None:
    """Marked as not safe to roll back: nothing is written, somebody is paged, exit 11."""
    revision = await cloud.deploy("new", FAILING, service=service)
    options = ("--revision", revision, "--no-rollback-safe")
    with watching(cloud, folder, *options, text=policy_text(name=service)) as watch:
        code, last = await watch.end()
        assert (code, last["outcome"]) == (11, "failed"), watch.story()
        assert "not safe to roll back" in last["reason"]
        pages = [p for p in await cloud.pages() if last["watch"] in p["dedup_key"]]
        assert [p["event_action"] for p in pages] == ["trigger"]
    assert await cloud.split(service) == {revision: 100}
    assert not await cloud.writes(service)


async def marked_by_its_label(cloud: Cloud, folder: Path, service: str) -> None:
    """The mark may travel with the revision."""
    labels = {"watchdog-rollback-safe": "false"}
    revision = await cloud.deploy("new", FAILING, service=service, labels=labels)
    with watching(cloud, folder, "--revision", revision, text=policy_text(name=service)) as watch:
        code, last = await watch.end()
        assert (code, last["outcome"]) == (11, "failed"), watch.story()
    assert not await cloud.writes(service)


async def observed(cloud: Cloud, folder: Path, service: str) -> None:
    """Observe mode: says what it would do, writes nothing, exit 11."""
    revision = await cloud.deploy("new", FAILING, service=service)
    text = policy_text(name=service, mode="observe")
    with watching(cloud, folder, "--revision", revision, text=text) as watch:
        code, last = await watch.end()
        assert (code, last["outcome"]) == (11, "failed"), watch.story()
        assert "would have moved traffic" in last["reason"]
    assert not await cloud.writes(service)


async def unverified(cloud: Cloud, folder: Path, service: str) -> None:
    """Half the traffic and no tag: nothing can be asked about it, and silence is no good news. Exit 13."""
    revision = await cloud.deploy("new", service=service, percent=50)
    with watching(cloud, folder, "--revision", revision, "--until", "2s", text=policy_text(name=service)) as watch:
        code, last = await watch.end()
        assert (code, last["outcome"]) == (13, "unverified"), watch.story()


async def interrupted(cloud: Cloud, folder: Path, service: str) -> None:
    """Ctrl-C leaves the watch open, exit 13; the same command takes it up."""
    revision = await cloud.deploy("new", service=service)
    text = policy_text(name=service)
    with watching(cloud, folder, "--revision", revision, "--until", "10m", text=text) as first:
        await first.until("cutover")
        first.process.send(signal.SIGINT)
        code, last = await first.end(within_s=5.0)
        assert code == 13, first.story()
        assert last["event"] != "watch_ended"
        assert "take it up" in first.story()
    options = ("--revision", revision, "--until", "10m")
    database = f"sqlite:///{folder / 'watch.db'}"
    with watching(cloud, folder, *options, name="again", text=text, database=database) as second:
        await second.until("watch_resumed")
        await cloud.afflict(revision, FAILING)
        code, end = await second.end()
        assert end["watch"] == last["watch"]
        assert (code, end["outcome"]) == (10, "rolled_back"), second.story()
    assert len(await cloud.writes(service)) == 1


ALONE: tuple[Drill, ...] = (passed, rolled_back, overridden, superseded, interrupted)
TOGETHER: tuple[Drill, ...] = (rolled_back_without_tags, not_safe, marked_by_its_label, observed, unverified)


@pytest.mark.parametrize("drills", [ALONE, TOGETHER], ids=["moved", "kept"])
async def test_how_a_watch_ends_is_its_exit_code(drills: tuple[Drill, ...], cloud: Cloud, tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        for drill in drills:
            service = drill.__name__.replace("_", "-")
            await cloud.create(service, tagged=drill is not rolled_back_without_tags)
            group.create_task(drill(cloud, tmp_path / service, service), name=service)


async def test_a_pipeline_beside_a_daemon_follows_the_daemons_watch(cloud: Cloud, tmp_path: Path) -> None:
    """One open watch a service: the command hands its notice over and reports what the daemon does."""
    good = (await cloud.state())["latest_ready"]
    async with daemon(cloud, tmp_path) as dog:
        revision = await cloud.deploy("new")
        options = ("--revision", revision, "--previous", f"{good}=100")
        with watching(cloud, tmp_path, *options, database=dog.database) as watch:
            found = await dog.watch(revision, "watching")
            await eventually(watch.process.lines, "it follows")
            await cloud.afflict(revision, FAILING)
            code, last = await watch.end()
            assert (code, last["outcome"], last["watch"]) == (10, "rolled_back", found["id"]), watch.story()
        assert len(await dog.watches()) == 1
        assert len(await cloud.writes()) == 1


async def test_a_usage_error_is_two_and_says_what_there_is(cloud: Cloud, tmp_path: Path) -> None:
    with watching(cloud, tmp_path, "--revision", "nonsense") as watch:
        assert await watch.process.exit(20.0) == 2
        assert "has no such revision; newest:" in watch.story()
        assert "Traceback" not in watch.story()
