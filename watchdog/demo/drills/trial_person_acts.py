"""A person puts the traffic back in the middle of a trial: respected, told, and not fought."""

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
    stage.say("Somebody who knows the cause moves all traffic to the new revision again.")
    await stage.move(bad=100)
    trial = await trial_days.decided(stage)
    stage.check("the trial", trial["verdict"], "undone")
    view = await stage.until("bad", "held", within_s=10.0)
    stage.check("the hold", view["hold"]["kind"], "person")
    await stage.pass_time(20.0)
    await stage.served(bad=100)


DRILL = Drill(
    name="trial-person-acts",
    title="A person takes the traffic back in the middle of a trial",
    day="A bad release is on trial. Somebody who knows what is wrong moves all traffic to it again.",
    others="An automation that reconciles writes its own split again, and both write in turns.",
    ours="See within a second that it was somebody else, end the trial, hold, and page once; write nothing more until "
    "they say `watchdog resume`.",
    expect=Expect(
        outcomes={"bad": "open"},
        serving={"bad": 100},
        writes=1,
        pages=("Rolling back", "Held, not rolled back"),
    ),
    play=_play,
    policy=trial_days.POLICY,
    cloud=trial_days.BUSY,
    within_s=400.0,
)
