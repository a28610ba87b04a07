"""A shared dependency goes down in the extended window: hours after the deploy."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage

SICK = {"kind": "status", "status": 503}


async def _play(stage: Stage) -> None:
    await stage.deploy("bad")
    await stage.until("bad", "watching")
    await stage.pass_time(stage.vary(150.0, 130.0, 600.0))
    await stage.faults("good", SICK)
    await stage.faults("bad", SICK)
    stage.fault_now()
    await stage.until("bad", "held", within_s=90)
    await stage.pass_time(stage.vary(200.0, 150.0, 400.0))
    await stage.faults("good")
    await stage.faults("bad")
    await stage.until("bad", "watching", within_s=60)


DRILL = Drill(
    name="shared-at-night",
    title="A shared dependency goes down hours after the deploy",
    day="The release has served well for hours when a dependency of both revisions goes down, for longer than the "
    "two minutes that the first window would wait.",
    others="Cloud Deploy's analysis would still be running (48 h at most) and repair the rollout; the others have "
    "stopped watching.",
    ours="Long after a deploy it is the least likely cause: hold and page for as long as both fail. Only a person, "
    "or the old revision's recovery, moves traffic.",
    expect=Expect(outcomes={"bad": "open"}, serving={"bad": 100}, writes=0, pages=("Held, not rolled back",)),
    play=_play,
    policy={
        "windows": {
            "immediate": {"until": "1m"},
            "short_term": {"until": "2m", "probe_every": "5s"},
            "extended": {"until": "2h", "probe_every": "10s"},
        }
    },
    within_s=1500.0,
)
