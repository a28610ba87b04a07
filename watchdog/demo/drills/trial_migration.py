"""The release is bad, and its migration keeps the old code from working: found out on a fifth of the users."""

from watchdog.demo import trial_days
from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    after_s = stage.vary(15.0, 12.0, 60.0)
    await stage.deploy("bad", trial_days.errors(stage.vary(0.3, 0.2, 0.45), 503, after_s))
    stage.say("Its migration has renamed a column: old code could not read a single order any more.")
    await stage.faults("good", trial_days.errors(stage.vary(1.0, 0.9, 1.0), 500))
    await stage.pass_time(after_s)
    stage.fault_now()
    trial = await trial_days.decided(stage)
    stage.check("the trial", trial["verdict"], "sick_otherwise")
    view = await stage.until("bad", "held", within_s=30.0)
    stage.check("the hold", view["hold"]["reason"], "the old code cannot serve")
    await stage.served(bad=100)


DRILL = Drill(
    name="trial-migration",
    title="A bad release whose migration the old code cannot live with",
    day="A release fails three requests of ten with a 503. It also came with a migration that renamed a column, so "
    "the old code, whose health check asks nothing of the database, would fail all of them with a 500.",
    others="A whole rollback turns 30 % of failures into 100 %, and the way forward is closed until somebody has "
    "understood it.",
    ours="A fifth of the traffic shows it within a minute: put it back, page "
    "(old code cannot serve: migration?), and hold whatever else is proven.",
    expect=Expect(
        outcomes={"bad": "open"},
        serving={"bad": 100},
        writes=2,
        pages=("Rolling back", "Old code cannot serve: migration?"),
    ),
    play=_play,
    policy=trial_days.POLICY,
    cloud=trial_days.BUSY,
    within_s=240.0,
)
