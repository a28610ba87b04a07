"""A service behind a load balancer with Identity-Aware Proxy."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage

CLIENT = "1234-barq.apps.googleusercontent.com"
PROBE = {"auth": "id_token", "audience": CLIENT}


async def _behind_iap(stage: Stage) -> None:
    await stage.entrance(iap={"audience": CLIENT})
    await stage.invokers(watchdog=True)


async def _play(stage: Stage) -> None:
    await stage.deploy("bad")
    await stage.until("bad", "watching")
    await stage.pass_time(stage.vary(20.0, 5.0, 60.0))
    stage.say("The watchdog's account loses its role at Identity-Aware Proxy.")
    await stage.entrance(iap={"audience": CLIENT, "allowed": False})
    await stage.pass_time(stage.vary(30.0, 20.0, 60.0))
    seen = await stage.until("bad")
    stage.require(f"a missing role was taken for an outage: {seen['state']}", seen["state"] == "watching")
    stage.require("traffic was moved for a missing role", not await stage.writes())
    stage.require("somebody was woken for a missing role", not await stage.pages())
    stage.say("The role is given back; and then the release goes down.")
    await stage.entrance(iap={"audience": CLIENT})
    await stage.pass_time(12.0)
    await stage.faults("bad", stage.pick({"kind": "down"}, {"kind": "status", "status": 500}, {"kind": "hang"}))
    stage.fault_now()


DRILL = Drill(
    name="iap-service",
    title="Behind Identity-Aware Proxy: a missing role, and then an outage",
    day="People reach the service through Identity-Aware Proxy. While a release is watched, the watchdog's account "
    "loses its role there for half a minute; later the release really goes down.",
    others="A check without a token is sent to a login page and calls it down, or calls the login page's 200 well.",
    ours="Tokens for IAP's client at the public URL, tokens for Cloud Run at the revisions' own ones. What IAP says by "
    "itself is missing evidence, never an outage; the outage behind it is, and is rolled back.",
    expect=Expect(outcomes={"bad": "rolled_back"}, serving={"good": 100}, writes=1, pages=("Rolling back",)),
    play=_play,
    set_up=_behind_iap,
    policy={"probes": {"health": PROBE, "ready": PROBE}},
    within_s=300.0,
)
