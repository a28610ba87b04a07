"""A hotfix is deployed minutes after a rollback, and is no better."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    await stage.deploy("bad", {"kind": "down", "after_s": 3.0})
    await stage.until("bad", "ended")
    said = await stage.release(on_next=True)
    stage.require(f"release --on-next was refused: {said}", not said)
    await stage.pass_time(stage.vary(15.0, 1.0, 60.0))
    after_s = stage.vary(5.0, 0.0, 20.0)
    await stage.deploy("hotfix", {"kind": "down", "after_s": after_s})
    await stage.served(hotfix=100, within_s=30)
    await stage.pass_time(after_s)
    stage.fault_now()
    held = await stage.until("hotfix", "held", within_s=40)
    stage.check("why it is held", held["hold"]["reason"], "cooldown")


DRILL = Drill(
    name="hotfix-in-cooldown",
    title="A hotfix within the cooldown is as bad as what it mends",
    day="A release went down and was rolled back. With `release --on-next` given, the hotfix takes the traffic as "
    "soon as it is Ready, two minutes later, and goes down as well.",
    others="Without a limit, two rollbacks within minutes hide a cause that is not the release; with one, tools skip "
    "the rollback and forget about it (a skipped CloudFormation trigger, Flagger's failed canary that nobody "
    "restarts).",
    ours="The hotfix is watched like any deploy. Its rollback waits for the end of the cooldown, which the page "
    "says, and is then decided again and written. A person's `watchdog rollback` is not bound by it.",
    expect=Expect(
        outcomes={"bad": "rolled_back", "hotfix": "rolled_back"},
        serving={"good": 100},
        writes=3,
        pages=("Rolling back", "Rollback refused"),
    ),
    play=_play,
    policy={"rollback": {"cooldown": "2m"}},
    within_s=400.0,
)
