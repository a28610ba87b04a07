"""CPU is at its limit for a reason that more instances do not mend: measured, put back, and somebody is woken."""

from watchdog.demo import scale_days
from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _before(stage: Stage) -> None:
    await stage.maximum(4)


async def _play(stage: Stage) -> None:
    await stage.deploy("new")
    await stage.until("new", "watching")
    await stage.pass_time(stage.vary(20.0, 15.0, 60.0))
    stage.say("A loop keeps the CPU of every instance busy, however many there are.")
    await stage.usage("new", demand=stage.vary(1000.0, 500.0, 5000.0))
    stage.fault_now()
    await scale_days.until_scaling(stage, "new", lambda found: bool(found["written_at"]))
    stage.require(f"the maximum is {await stage.allowed()}, expected 8", await stage.allowed() == 8)
    await scale_days.ended(stage, "new", "reverted")
    stage.require(f"the maximum is {await stage.allowed()}, expected 4 again", await stage.allowed() == 4)
    await stage.pass_time(10.0)


DRILL = Drill(
    name="scale-up-does-not-help",
    title="More instances that do not help",
    day="A release spins in a loop: the CPU of each of its four instances is at its limit, and so would be that of any "
    "number of them. Users are served all the same.",
    others="Autoscaling by a rule raises the limit again and again, up to the bill or the database's last connection.",
    ours="Raise the service's maximum once, measure again, see that nothing has changed, put it back if nobody else "
    "has touched it, and wake somebody with both measurements.",
    expect=Expect(
        outcomes={"new": "open"},
        serving={"new": 100},
        writes=2,
        pages=("Scaling up", "Scaled up, and it did not help"),
    ),
    play=_play,
    set_up=_before,
    policy=scale_days.POLICY,
    cloud=scale_days.BUSY,
    within_s=400.0,
)
