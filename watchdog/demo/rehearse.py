"""Plays one drill and holds its end against its script: outcome, traffic, writes, pages."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from watchdog.demo.drill import Cloud, Drill, load_drill
from watchdog.demo.inside import open_inside
from watchdog.demo.stage import LOOK_EVERY_S, Json, OffScriptError, Stage
from watchdog.demo.teller import Teller
from watchdog.demo.virtual import run_virtually
from watchdog.demo.world import open_world
from watchdog.emulator.options import Options
from watchdog.telemetry import configure_logging
from watchdog.terminal import percents

PAGES_S = 5.0
"""How long the last pages may take to arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """How a drill ended."""

    drill: Drill
    seed: int
    took_s: float
    """From the daemon's start to the end."""
    wrong: tuple[str, ...] = ()
    """What was not as its script says; empty when all was."""
    wrote_s: float | None = None
    """From the fault to the first traffic write."""
    paged_s: float | None = None
    """From the fault to the first page."""
    writes: int = 0
    pages: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether it ended as its script says."""
        return not self.wrong


async def play(name: str, *, as_json: bool = False, keep: bool = False) -> int:
    """Play a drill in real time, emulator and daemon each in a process of its own; 0 when it ended as its script says,
    11 when it did not. `keep`, and any other end, keeps logs and database. Raises `ConfigError`, `DemoError`."""
    drill = load_drill(name)
    teller = Teller(as_json=as_json, name="drill")
    folder = Path(tempfile.mkdtemp(prefix="watchdog-drill-"))
    tell_the_day(drill, teller)
    async with open_world(_arguments(drill.cloud), folder) as world:
        played = await _rehearse(Stage(world=world, drill=drill, teller=teller))
    return _finish(played, teller, folder, keep=keep)


def play_virtually(name: str, *, as_json: bool = False, keep: bool = False, seed: int = 0) -> int:
    """`play` in one process and in virtual time: the same script, the same adapters, in seconds."""
    teller = Teller(as_json=as_json, name="drill")
    folder = Path(tempfile.mkdtemp(prefix="watchdog-drill-"))
    tell_the_day(load_drill(name), teller)
    with (folder / "daemon.log").open("w", encoding="utf-8") as log:
        configure_logging(json=True, stream=log)
        played = run_virtually(lambda: rehearse_inside(load_drill(name), teller=teller, folder=folder, seed=seed))
    return _finish(played, teller, folder, keep=keep)


async def rehearse_inside(drill: Drill, *, teller: Teller, folder: Path, seed: int = 0) -> Played:
    """Play a drill on the running loop."""
    cloud = drill.cloud
    options = Options(
        empty=True,
        seed=seed,
        routing_delay_s=cloud.routing_delay_s,
        startup_s=cloud.startup_s,
        sample_period_s=cloud.sample_period_s,
        ingest_delay_s=cloud.ingest_delay_s,
        log_delay_s=cloud.log_delay_s,
    )
    async with open_inside(options, folder) as world:
        return await _rehearse(Stage(world=world, drill=drill, teller=teller, seed=seed))


def tell_the_day(drill: Drill, teller: Teller) -> None:
    """What happens, what others do, what we do."""
    teller.say(f"{drill.title}.", style="bold", drill=drill.name)
    teller.say(f"The day: {drill.day}", part="day")
    teller.say(f"Others: {drill.others}", part="others")
    teller.say(f"We: {drill.ours}", part="ours")


def _arguments(cloud: Cloud) -> list[str]:
    """The same on the emulator's command line."""
    options = {
        "--routing-delay": cloud.routing_delay_s,
        "--startup": cloud.startup_s,
        "--sample-period": cloud.sample_period_s,
        "--ingest-delay": cloud.ingest_delay_s,
        "--log-delay": cloud.log_delay_s,
    }
    return ["--empty", *(text for name, value in options.items() for text in (name, f"{value:g}"))]


def _finish(played: Played, teller: Teller, folder: Path, *, keep: bool) -> int:
    if keep or not played.ok:
        teller.say(f"Logs and policy: {folder}", folder=str(folder))
    else:
        shutil.rmtree(folder)
    for problem in played.wrong:
        teller.say(f"not as its script says: {problem}", style="bold red", ok=False)
    if played.ok:
        teller.say(
            f"ended as its script says, in {played.took_s:.0f} s.",
            style="bold green",
            ok=True,
            drill=played.drill.name,
            took_s=round(played.took_s, 1),
            wrote_s=_rounded(played.wrote_s),
            paged_s=_rounded(played.paged_s),
            writes=played.writes,
        )
    return 0 if played.ok else 11


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


async def _rehearse(stage: Stage) -> Played:
    """Set the world up, start the daemon, play, and judge the end."""
    drill, world = stage.drill, stage.world
    await stage.deploy("good")
    if drill.tagged:  # the revision by its name: a tag on what is newest would follow the next deploy
        await stage.move(LATEST=100, tags={"stable": "good"})
    if drill.cloud.load_per_s:
        await stage.load(drill.cloud.load_per_s)
    if drill.set_up is not None:
        await drill.set_up(stage)
    await world.start_daemon(*(json.dumps(policy) for policy in stage.policies()))
    stage.began_at = stage.now()
    await stage.armed()
    async with _following(stage):
        try:
            await drill.play(stage)
            await _settle(stage)
        except OffScriptError as error:
            stage.wrong.append(str(error))
    took_s = stage.now() - stage.began_at
    if took_s > drill.within_s:
        stage.wrong.append(f"it took {took_s:.0f} s, expected {drill.within_s:.0f} s at most")
    return await _judge(stage, took_s)


@asynccontextmanager
async def _following(stage: Stage) -> AsyncIterator[None]:
    """Tell each watch's timeline while the script is played."""
    told: dict[str, int] = {}

    async def look() -> None:
        for row in reversed((await stage.world.watchdog("GET", "/api/v1/watches"))["watches"]):
            view = await stage.world.watchdog("GET", f"/api/v1/watches/{row['id']}")
            stage.teller.told = told.get(row["id"], 0)
            stage.teller.show(view)
            told[row["id"]] = stage.teller.told

    async def follow() -> None:
        while True:
            await asyncio.sleep(1.0)
            await look()

    task = asyncio.create_task(follow(), name="follow") if stage.teller.tells else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
            await look()


async def _settle(stage: Stage) -> None:
    """Until every watch has its outcome and Cloud Run serves what it should, in what is left of the drill's time."""
    expect = stage.drill.expect
    give_up = stage.began_at + stage.drill.within_s
    while stage.now() < give_up:
        found = {name: await stage.outcome(name) for name in expect.outcomes}
        if found == dict(expect.outcomes) and await stage.split() == dict(expect.serving):
            return
        await stage.pass_time(LOOK_EVERY_S)


async def _judge(stage: Stage, took_s: float) -> Played:
    expect, wrong = stage.drill.expect, stage.wrong
    for name, outcome in expect.outcomes.items():
        found = await stage.outcome(name)
        view = await stage.watch(name)
        if found != outcome:
            wrong.append(f"the watch of {name} ended {found}, expected {outcome} ({view['reason'] if view else ''})")
        elif view is not None and view["reason"]:
            stage.say(f"{name}: {outcome.replace('_', ' ')}. {view['reason']}")
    split = await stage.split()
    stage.teller.say(f"Cloud Run serves {percents(split)}.", split=split)
    if split != dict(expect.serving):
        wrong.append(f"Cloud Run serves {percents(split)}, expected {percents(expect.serving)}")
    writes = await stage.writes()
    stage.teller.say(f"Traffic writes of the watchdog: {len(writes)}.", writes=len(writes))
    if len(writes) != expect.writes:
        wrong.append(f"traffic was written {len(writes)} times, expected {expect.writes}")
    pages = await _pages(stage)
    for page in pages:
        stage.teller.say(f"PagerDuty: {page['title']}", page=page["title"])
    fault = stage.fault_at
    return Played(
        drill=stage.drill,
        seed=stage.seed,
        took_s=took_s,
        wrong=tuple(wrong),
        wrote_s=_first_after(fault, writes),
        paged_s=_first_after(fault, pages),
        writes=len(writes),
        pages=tuple(page["title"] for page in pages),
    )


def _first_after(fault: float | None, entries: list[Json]) -> float | None:
    """Seconds from the fault to the first of these since then."""
    since = [e["at"] - fault for e in entries if fault is not None and e["at"] >= fault]
    return float(min(since)) if since else None


async def _pages(stage: Stage) -> list[Json]:
    """What has arrived, once every page that is expected has, or their time is over."""
    expected, give_up = stage.drill.expect.pages, stage.now() + PAGES_S
    while True:
        pages = await stage.pages()
        lacking = [word for word in expected if not any(word in page["title"] for page in pages)]
        if not lacking or stage.now() > give_up:
            break
        await stage.pass_time(LOOK_EVERY_S)
    stage.wrong += [f"nobody was paged {word!r}" for word in lacking]
    needless = [page["title"] for page in pages if not any(word in page["title"] for word in expected)]
    stage.wrong += [f"somebody was woken for nothing: {title!r}" for title in needless]
    return pages
