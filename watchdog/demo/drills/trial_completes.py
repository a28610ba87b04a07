"""A bad release behind green probes: a fifth of the users go back first, are well, and the rest follow."""

from watchdog.demo import trial_days
from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    after_s = stage.vary(15.0, 12.0, 60.0)
    await stage.deploy("bad", trial_days.errors(stage.vary(0.5, 0.3, 1.0), stage.pick(500, 502, 503), after_s))
    await stage.pass_time(after_s)
    stage.fault_now()
    trial = await trial_days.decided(stage)
    stage.check("the trial", trial["verdict"], "helps")


DRILL = Drill(
    name="trial-completes",
    title="A bad release is tried against the old one, which serves the same users well",
    day="A release answers every probe, and half of what users ask for ends in a 500.",
    others="A canary analysis compares before promotion and is over by now; whoever rolls back does so wholly, and "
    "learns afterwards whether it helped.",
    ours="Send a fifth of the traffic back. Both revisions serve the same users in the same seconds: the old one is "
    "well, so the rest follows within half a minute.",
    expect=Expect(outcomes={"bad": "rolled_back"}, serving={"good": 100}, writes=2, pages=("Rolling back",)),
    play=_play,
    policy=trial_days.POLICY,
    cloud=trial_days.BUSY,
    within_s=240.0,
)
