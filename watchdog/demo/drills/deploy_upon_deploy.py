"""A second deploy takes over before the first one's fault has shown, and goes down."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    # B is bad, too, but so slowly that nothing can be proven before C comes.
    await stage.deploy("b", {"kind": "leak", "delay_ms": 5, "delay_ms_per_min": 20})
    await stage.until("b")
    await stage.pass_time(stage.vary(300.0, 20.0, 850.0))
    after_s = stage.vary(5.0, 0.0, 120.0)
    await stage.deploy("c", {"kind": "down", "after_s": after_s})
    await stage.pass_time(after_s)
    stage.fault_now()


DRILL = Drill(
    name="deploy-upon-deploy",
    title="Deploy upon deploy: the one in between is no place to go back to",
    day="A has served for weeks. B is deployed and leaks slowly. Five minutes later, before anything about B is "
    "proven, C takes over and goes down.",
    others="A rollback to “the revision before” lands on B, which nobody has vouched for; second-newest by time "
    "picks wrong just as easily (candelahq/candela#774). Argo and Spinnaker need to have stored the target at "
    "deploy time (spinnaker/orca#3874).",
    ours="B's watch ends superseded and hands on its own target, since B got through nothing: C's rollback goes to A.",
    expect=Expect(
        outcomes={"b": "superseded", "c": "rolled_back"}, serving={"good": 100}, writes=1, pages=("Rolling back",)
    ),
    play=_play,
    within_s=1200.0,
)
