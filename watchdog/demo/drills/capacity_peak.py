"""Ten times the traffic: the instances are at their ceiling, and the front end turns users and probes away."""

from watchdog.demo.drill import Cloud, Drill, Expect
from watchdog.demo.stage import Stage

BEFORE_PER_S = 5.0


async def _usual_day(stage: Stage) -> None:
    await stage.pass_time(30.0)


async def _play(stage: Stage) -> None:
    await stage.deploy("busy")
    await stage.until("busy", "watching")
    await stage.pass_time(stage.vary(30.0, 20.0, 90.0))
    ceiling = stage.vary(8.0, 7.0, 10.0)
    await stage.faults("busy", {"kind": "ceiling", "per_s": ceiling})
    peak = stage.vary(50.0, 45.0, 70.0)
    await stage.load(peak)
    stage.say(f"{peak:.0f} requests a second come; the instances that may run take {ceiling:.0f}.")
    stage.fault_now()
    held = await stage.until("busy", "held", within_s=60)
    stage.check("why it is held", held["hold"]["reason"], "peak of traffic", "no instance is free")
    await stage.pass_time(stage.vary(20.0, 10.0, 30.0))
    stage.require("traffic was moved although the release is sound", not await stage.writes())
    stage.say("Somebody raises the ceiling.")
    await stage.faults("busy")
    await stage.load(BEFORE_PER_S)
    await stage.until("busy", "watching", within_s=120)


DRILL = Drill(
    name="capacity-peak",
    title="A peak of traffic is too much for a sound release",
    day="Half a minute after a deploy a campaign sends ten times the usual traffic. As many instances run as may, and "
    "serve; everybody else, our probes among them, is answered 429 by Google's front end.",
    others="A health check sees five failures in a row and rolls back: onto the old revision, with the same ceiling "
    "and no instance warm. Error-rate rules do the same where they count what the load balancer refused.",
    ours="The request log proves it: far more is asked for than before, users are turned away, and what runs serves "
    "more of them well than ever. Hold, page for more instances, move nothing; go on when probes pass.",
    expect=Expect(outcomes={"busy": "open"}, serving={"busy": 100}, writes=0, pages=("Held, not rolled back",)),
    play=_play,
    set_up=_usual_day,
    cloud=Cloud(load_per_s=BEFORE_PER_S),
    within_s=360.0,
)
