"""A service that only knows identities may call."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage

PROBES = {"health": {"auth": "id_token"}, "ready": {"auth": "id_token"}}


async def _private(stage: Stage) -> None:
    await stage.invokers(watchdog=True)


async def _play(stage: Stage) -> None:
    after_s = stage.vary(5.0, 0.0, 60.0)
    fault = stage.pick({"kind": "down"}, {"kind": "status", "status": 500}, {"kind": "hang"})
    await stage.deploy("bad", {**fault, "after_s": after_s})
    await stage.pass_time(after_s)
    stage.fault_now()


DRILL = Drill(
    name="private-service",
    title="A private service goes down",
    day="Only a few accounts may call the service, and everybody else is answered 403 by Google's front end. A release "
    "of it goes down.",
    others="An uptime check without a token sees 403 before the deploy and after it: either it pages for ever, or it "
    "was told that 403 is fine and sees no outage at all.",
    ours="Probes carry a Google ID token for the service's own URL, also to the tags of both revisions. They pass "
    "before, so they are armed; they fail, and traffic goes back within seconds.",
    expect=Expect(outcomes={"bad": "rolled_back"}, serving={"good": 100}, writes=1, pages=("Rolling back",)),
    play=_play,
    set_up=_private,
    policy={"probes": PROBES},
)
