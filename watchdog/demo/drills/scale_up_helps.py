"""A healthy release needs more CPU than the one before; the service's own maximum of instances keeps it short."""

from watchdog.demo import scale_days
from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _before(stage: Stage) -> None:
    await stage.maximum(4)


async def _play(stage: Stage) -> None:
    await stage.deploy("new")
    await stage.until("new", "watching")
    await stage.pass_time(stage.vary(20.0, 15.0, 60.0))
    stage.say("Every request costs three times the CPU: four instances are busy, and there may be no fifth.")
    await stage.usage("new", demand=stage.vary(4.0, 3.8, 4.5))
    stage.fault_now()
    refused = {"kind": "status", "status": 503, "for_s": 60.0}
    lost = {"kind": "drop", "after": True, "for_s": 60.0}
    await stage.admin_fault(on="writes", **stage.pick(refused, lost))
    await scale_days.until_scaling(stage, "new", lambda found: bool(found["decided_at"]))
    await stage.world.kill_daemon()
    stage.say("The watchdog is killed between the decision and the answer to its write, and started again.")
    await stage.calm()
    await stage.pass_time(stage.vary(3.0, 0.0, 10.0))
    await stage.world.start_daemon()
    attempt = await scale_days.ended(stage, "new", "helped")
    stage.require(f"instances afterwards: {attempt['instances_after']}", (attempt["instances_after"] or 0) > 4)
    stage.require(f"the maximum is {await stage.allowed()}, expected 8", await stage.allowed() == 8)


DRILL = Drill(
    name="scale-up-helps",
    title="A release that needs more instances than there may be",
    day="A healthy release costs more CPU for each request. The service may have four instances in all, four run, and "
    "their CPU is at its limit. Between the decision and its write the watchdog is killed with -9.",
    others="Alerting wakes somebody who types the command of the checklist, `--max-instances=20`: a new revision in "
    "the middle of a watch. Cloud Run itself never goes beyond the maximum.",
    ours="Raise the service's own maximum, which makes no revision, by compare and swap and within the policy's cap; "
    "page what was done; measure again, see CPU fall, and leave it so. After the kill the same attempt goes on, "
    "and is never made twice.",
    expect=Expect(outcomes={"new": "open"}, serving={"new": 100}, writes=1, pages=("Scaling up",)),
    play=_play,
    set_up=_before,
    policy=scale_days.POLICY,
    cloud=scale_days.BUSY,
    within_s=400.0,
)
