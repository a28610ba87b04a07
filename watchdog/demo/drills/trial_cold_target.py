"""The old revision has no instance left: it starts cold under the trial's share, and that is not held against it."""

from watchdog.demo import trial_days
from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    after_s = stage.vary(15.0, 12.0, 40.0)
    await stage.deploy("bad", trial_days.errors(stage.vary(0.5, 0.4, 1.0), 500, after_s))
    await stage.pass_time(after_s)
    stage.fault_now()
    trial = await trial_days.until_trial(stage, "bad", lambda trial: bool(trial["written_at"]))
    cold_s = stage.vary(10.0, 3.0, 12.0)
    stage.say(f"The old revision has to start: for {cold_s:.0f} s it answers 503.")
    await stage.faults("good", {"kind": "status", "status": 503, "for_s": cold_s})
    trial = await trial_days.decided(stage)
    stage.require(f"a cold start was taken for sickness: {trial['reason']}", trial["verdict"] in {"helps", "undecided"})


DRILL = Drill(
    name="trial-cold-target",
    title="The old revision is cold when the trial begins",
    day="The release is bad, and the old revision was scaled to nothing: its first seconds under traffic end in 503.",
    others="A whole rollback sends everybody into the cold start; a health check right after it calls the rollback "
    "a failure.",
    ours="Ask it by its tag first where it has one. Then only a fifth of the users meet the cold start, its first "
    "seconds do not count against it, and the rest follow when it is warm.",
    expect=Expect(outcomes={"bad": "rolled_back"}, serving={"good": 100}, writes=2, pages=("Rolling back",)),
    play=_play,
    policy=trial_days.POLICY,
    cloud=trial_days.BUSY,
    tagged=False,
    within_s=240.0,
)
