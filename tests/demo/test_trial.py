"""The trial's two writes on days that no drill is named after: the real daemon, in virtual time."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from structlog.testing import capture_logs

from watchdog.demo import trial_days
from watchdog.demo.drill import Drill, Expect, load_drill
from watchdog.demo.inside import InsideWorld
from watchdog.demo.rehearse import rehearse_inside
from watchdog.demo.stage import Stage
from watchdog.demo.teller import Teller
from watchdog.demo.virtual import run_virtually
from watchdog.store.memory import MemoryStore

ROLLED_BACK, TRIAL = "deploy-watchdog/rolled-back", "deploy-watchdog/trial"
BACK = Expect(outcomes={"bad": "rolled_back"}, serving={"good": 100}, writes=2, pages=("Rolling back",))


def rehearsed(play: Callable[[Stage], Awaitable[None]], expect: Expect, folder: Path) -> None:
    drill: Drill = replace(load_drill("trial-completes"), play=play, expect=expect)
    with capture_logs():
        played = run_virtually(lambda: rehearse_inside(drill, teller=Teller(as_json=True, tells=False), folder=folder))
    assert not played.wrong


async def tried(stage: Stage, *, old: float = 0.0, status: int = 503) -> None:
    """Half of the users' requests fail on the new revision; both serve on trial."""
    await stage.deploy("bad", trial_days.errors(0.5, 503, 15.0))
    await stage.pass_time(15.0)
    if old:
        await stage.faults("good", trial_days.errors(old, status))
    await trial_days.running(stage)


def test_each_write_says_what_it_is_and_answers_that_are_lost_are_found(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.deploy("bad", trial_days.errors(0.5, 503, 15.0))
        await stage.pass_time(15.0)
        await stage.admin_fault(kind="drop", on="writes", after=True, count=1)
        await trial_days.running(stage)
        (first,) = await stage.writes()
        stage.require("the trial is marked", stage.revision("bad") in first["annotations"].get(TRIAL, ""))
        stage.require("nothing is rolled back yet", not first["annotations"].get(ROLLED_BACK))
        await stage.admin_fault(kind="race", on="writes", count=2)
        await stage.served(good=100, within_s=90.0)
        last = (await stage.writes())[-1]
        stage.require("the mark is gone", TRIAL not in last["annotations"])
        stage.require("it is rolled back", last["annotations"][ROLLED_BACK] == stage.revision("bad"))

    rehearsed(play, BACK, tmp_path)


def test_what_is_put_back_follows_the_latest_again_and_is_no_deploy_of_the_old_revision(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await tried(stage, old=0.5)
        await stage.until("bad", "held", within_s=90.0)
        await stage.served(bad=100)
        await stage.pass_time(10.0)
        last = (await stage.writes())[-1]
        percents = [entry for entry in last["traffic"] if entry.get("percent")]
        stage.require(f"it follows the latest: {percents}", [e.get("latestRevision") for e in percents] == [True])
        stage.require("the mark is gone", TRIAL not in last["annotations"])
        stage.require("the old one is not watched", await stage.outcome("good") == "none")
        image = "us-docker.pkg.dev/barq-fleet/api/api:bad"
        stage.require("what was put back is not known bad", (await stage.gate(image))["allowed"])

    pages = ("Rolling back", "Rollback would not help")
    rehearsed(play, Expect(outcomes={"bad": "open"}, serving={"bad": 100}, writes=2, pages=pages), tmp_path)


def test_with_the_store_lost_the_mark_on_the_service_is_enough(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await tried(stage)
        world = stage.world
        assert isinstance(world, InsideWorld)
        await world.kill_daemon()
        world.store = MemoryStore()
        await world.start_daemon()
        trial = await trial_days.decided(stage)
        stage.require(trial["reason"], trial["verdict"] == "helps")

    rehearsed(play, BACK, tmp_path)


def test_a_deploy_in_between_supersedes_it(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await tried(stage)
        await stage.deploy("next")
        await stage.move(next=100)

    outcomes = {"bad": "superseded", "next": "open"}
    rehearsed(play, Expect(outcomes=outcomes, serving={"next": 100}, writes=1, pages=("Rolling back",)), tmp_path)
