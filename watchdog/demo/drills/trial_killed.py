"""kill -9 between the trial's two writes: the next process goes on where the first one was."""

from watchdog.demo import trial_days
from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    after_s = stage.vary(15.0, 12.0, 40.0)
    await stage.deploy("bad", trial_days.errors(stage.vary(0.5, 0.4, 1.0), stage.pick(500, 503), after_s))
    await stage.pass_time(after_s)
    stage.fault_now()
    await trial_days.running(stage)
    await stage.pass_time(stage.vary(1.0, 0.0, 4.0))
    stage.say("Both serve; the daemon is killed, and started again.")
    await stage.world.kill_daemon()
    await stage.pass_time(stage.vary(2.0, 0.0, 10.0))
    await stage.world.start_daemon()
    trial = await trial_days.decided(stage)
    stage.require(f"nothing else ended it: {trial['reason']}", trial["verdict"] in {"helps", "undecided"})


DRILL = Drill(
    name="trial-killed",
    title="The watchdog is killed between the two writes of a trial",
    day="A bad release is on trial, a fifth of the traffic is back on the old one, and the watchdog is killed with -9.",
    others="A rollback in two steps, cut in the middle, stays in the middle: a mixed split that nobody owns.",
    ours="The journal knows that a trial runs, and the service carries its mark. The next process reads both, goes on "
    "counting and writes the rest, once.",
    expect=Expect(outcomes={"bad": "rolled_back"}, serving={"good": 100}, writes=2, pages=("Rolling back",)),
    play=_play,
    policy=trial_days.POLICY,
    cloud=trial_days.BUSY,
    within_s=300.0,
)
