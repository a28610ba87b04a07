"""The same answers as in a peak, in a peak: but the release is why nobody is served."""

from watchdog.demo.drill import Cloud, Drill, Expect
from watchdog.demo.stage import Stage

BEFORE_PER_S = 5.0


async def _usual_day(stage: Stage) -> None:
    await stage.pass_time(30.0)


async def _play(stage: Stage) -> None:
    after_s = stage.vary(5.0, 0.0, 20.0)
    await stage.load(stage.vary(20.0, 10.0, 40.0))
    stage.say("Traffic rises, and then comes the release whose new instances crash when they start.")
    refused = {"kind": "ceiling", "per_s": 0.0}
    fault = stage.pick(refused, {"kind": "down"}, {"kind": "ceiling", "per_s": 2.0, "after_s": after_s})
    await stage.deploy("bad", {**fault, "after_s": after_s} if fault["kind"] == "down" else fault)
    await stage.pass_time(after_s)
    stage.fault_now()


DRILL = Drill(
    name="crash-at-start-under-load",
    title="A release that crashes when it starts, under a peak of traffic",
    day="Traffic has just risen fourfold when a release is deployed whose instances crash as soon as they have work. "
    "Google's front end has no instance for anybody and answers as it does in any peak: 429.",
    others="Whoever takes 429 for a sign of load waits for it to go away, and asks for more instances that crash.",
    ours="A peak counts only as far as it is proven: the instances that run have to serve at least as many users well "
    "as before the deploy. These serve nobody, so it is rolled back as fast as any release that is down.",
    expect=Expect(outcomes={"bad": "rolled_back"}, serving={"good": 100}, writes=1, pages=("Rolling back",)),
    play=_play,
    set_up=_usual_day,
    cloud=Cloud(load_per_s=BEFORE_PER_S),
    within_s=240.0,
)
