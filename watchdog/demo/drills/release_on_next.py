"""`watchdog release --on-next`, said at night: the next good revision gets its traffic, a bad one again does not."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage

BAD = "us-docker.pkg.dev/barq-fleet/api/api:bad"


async def _play(stage: Stage) -> None:
    after_s = stage.vary(5.0, 0.0, 20.0)
    await stage.deploy("bad", {"kind": "down", "after_s": after_s})
    await stage.pass_time(after_s)
    stage.fault_now()
    await stage.until("bad", "ended", within_s=90)
    said = await stage.release(on_next=True)
    stage.require(f"release --on-next was refused: {said}", not said)
    stage.say("The pipeline deploys the same bad image once more.")
    await stage.deploy("bad-again", {"kind": "down"}, image=BAD)
    await stage.pass_time(stage.vary(10.0, 3.0, 60.0))
    await stage.served(good=100, within_s=1.0)
    await stage.deploy("fix")
    await stage.served(fix=100, within_s=30.0)
    await stage.until("fix", "watching")
    await stage.pass_time(8.0)


DRILL = Drill(
    name="release-on-next",
    title="Released as soon as a good revision is there",
    day="A bad release was rolled back in the evening, and whoever is on call says `watchdog release --on-next`. A "
    "pipeline deploys the same bad image again; the fix comes later.",
    others="A pin that is taken away by a timer, or by the next deploy whatever it is, gives the bad image its traffic "
    "back.",
    ours="Wait for a Ready revision that is not known to be bad by its fingerprint: the second deploy of the bad image "
    "gets no traffic, the fix gets all of it and is watched.",
    expect=Expect(
        outcomes={"bad": "rolled_back", "bad-again": "none", "fix": "open"},
        serving={"fix": 100},
        writes=2,
        pages=("Rolling back",),
    ),
    play=_play,
    within_s=480.0,
)
