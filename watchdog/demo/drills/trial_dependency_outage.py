"""A dependency fails in hour 17 and both revisions with it: the trial is put back, and a person is told why."""

from watchdog.demo import trial_days
from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage

WINDOWS = {
    "immediate": {"until": "15s", "probe_every": "5s"},
    "short_term": {"until": "25s", "probe_every": "5s", "confirm": {"failures": 10}},
    "extended": {"until": "24h", "probe_every": "15s", "confirm": {"failures": 20}},
}
"""The last window, which hour 17 lies in, comes after half a minute, so that nobody has to wait for it."""


async def _play(stage: Stage) -> None:
    await stage.deploy("bad")
    await stage.until("bad", "watching")
    await stage.pass_time(stage.vary(40.0, 30.0, 90.0))
    stage.say("The first windows are over, and all was well.")
    sick = trial_days.errors(stage.vary(0.6, 0.5, 1.0), stage.pick(503, 500, 504))
    await stage.faults("good", sick)
    await stage.faults("bad", sick)
    stage.fault_now()
    trial = await trial_days.decided(stage)
    stage.check("the trial", trial["verdict"], "as_sick")
    view = await stage.until("bad", "held", within_s=30.0)
    stage.check("the hold", view["hold"]["reason"], "would not help")
    await stage.served(bad=100)


DRILL = Drill(
    name="trial-dependency-outage",
    title="A dependency fails, long after the deploy, and both revisions with it",
    day="In hour 17 of a healthy release its database begins to fail six requests of ten. Probes stay green. The old "
    "revision would fail the same way.",
    others="An alert that rolls back does so: users keep failing, on old code, and whoever is woken looks for the "
    "fault in a release that has none.",
    ours="Send a fifth of the traffic back, see it fail just as often and in the same way, put it back, hold, and "
    "page: a rollback would not help.",
    expect=Expect(
        outcomes={"bad": "open"},
        serving={"bad": 100},
        writes=2,
        pages=("Rolling back", "Rollback would not help"),
    ),
    play=_play,
    policy={**trial_days.POLICY, "windows": WINDOWS},
    cloud=trial_days.BUSY,
    within_s=300.0,
)
