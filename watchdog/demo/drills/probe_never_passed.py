"""A probe with a wrong path, written with the deploy."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    await stage.deploy("sound")
    stage.fault_now()
    await stage.until("sound", "watching", "confirming")
    await stage.pass_time(stage.vary(40.0, 20.0, 90.0))
    stage.require("traffic was moved by a probe that never passed", not await stage.writes())
    view = await stage.until("sound")
    told = [d["reason"] for d in view["decisions"]]
    stage.check("what is said of the probe", told, "has never passed as it is configured now")


DRILL = Drill(
    name="probe-never-passed",
    title="A probe that was wrong from the beginning",
    day="Somebody adds a probe to the policy and mistypes its path. Nobody looks; the next deploy, a sound one, is "
    "watched with it, and it fails every time.",
    others="The first deploy after the change is rolled back, and the one after that, and every fix of either.",
    ours="A probe may move traffic once it has passed, as it is configured now, on either revision or between watches, "
    "when the daemon sends each of them every minute. This one never has: page, say that its path, token or "
    "expectation may be wrong, and move nothing.",
    expect=Expect(outcomes={"sound": "open"}, serving={"sound": 100}, writes=0, pages=("fails",)),
    play=_play,
    policy={"probes": {"typo": {"path": "/helth", "timeout": "3s"}}},
    within_s=240.0,
)
