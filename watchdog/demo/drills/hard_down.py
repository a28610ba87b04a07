"""The release goes down a few seconds after it took the traffic."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    after_s = stage.vary(5.0, 0.0, 60.0)
    kind = stage.pick({"kind": "down"}, {"kind": "status", "status": 500}, {"kind": "hang"}, {"kind": "reset"})
    await stage.deploy("bad", {**kind, "after_s": after_s})
    await stage.pass_time(after_s)
    stage.fault_now()


DRILL = Drill(
    name="hard-down",
    title="The new release goes down",
    day="A release passes its start-up check, takes all traffic, and stops listening a few seconds later. Every "
    "request is answered 503.",
    others="Cloud Run's own rollout has ended by then. Cloud Deploy's analysis looks every 5 minutes at the "
    "earliest, and its rollback is a new rollout. Argo's canary and Flagger stop watching at promotion.",
    ours="Confirm with five fresh connections a second apart, ask the old revision meanwhile, put traffic back "
    "within seconds, prove the recovery, page once.",
    expect=Expect(outcomes={"bad": "rolled_back"}, serving={"good": 100}, writes=1, pages=("Rolling back",)),
    play=_play,
)
