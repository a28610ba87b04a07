"""The watchdog's own permission to call a private service is taken away."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.drills.private_service import PROBES
from watchdog.demo.stage import Stage


async def _private(stage: Stage) -> None:
    await stage.invokers(watchdog=True)


async def _play(stage: Stage) -> None:
    await stage.deploy("sound", {"kind": "status", "status": 500, "after_s": 9.0, "for_s": 3.0, "paths": ["/health"]})
    await stage.until("sound", "watching")
    stage.say("A blip: one probe fails and passes again, and the old revision was asked meanwhile.")
    await stage.pass_time(stage.vary(30.0, 20.0, 60.0))
    stage.say("Somebody cleans up the service's invokers, and the watchdog's account is gone.")
    await stage.invokers(watchdog=False)
    await stage.pass_time(stage.vary(150.0, 60.0, 200.0))
    seen = await stage.until("sound")
    stage.require(f"a missing permission was taken for an outage: {seen['state']}", seen["state"] == "watching")
    stage.require("traffic was moved for a missing permission", not await stage.writes())
    stage.say("The permission is given back.")
    await stage.invokers(watchdog=True)
    await stage.pass_time(15.0)
    seen = await stage.until("sound")
    stage.require(f"{seen['state']} after the permission came back", seen["state"] == "watching")


DRILL = Drill(
    name="access-revoked-midwatch",
    title="Our own permission is taken away during a watch",
    day="A sound release of a private service is watched. Somebody tidies up its invokers, and the watchdog's account "
    "is not among them any more: every probe is answered 403.",
    others="Every check fails at once, on a release that is minutes old: nothing looks more like a bad deploy.",
    ours="Google's front end says it, not the service, and the old revision does not let us in either: missing "
    "evidence, no outage. Nothing moves and nobody is woken; coverage sinks, and without it the watch does not pass.",
    expect=Expect(outcomes={"sound": "open"}, serving={"sound": 100}, writes=0),
    play=_play,
    set_up=_private,
    policy={"probes": PROBES},
    within_s=400.0,
)
