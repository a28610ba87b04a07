"""The fix is deployed in the very seconds in which the bad release is being confirmed."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    after_s = stage.vary(5.0, 0.0, 60.0)
    await stage.deploy("bad", {"kind": "down", "after_s": after_s})
    await stage.pass_time(after_s)
    stage.fault_now()
    await stage.pass_time(stage.vary(2.0, 0.0, 3.2))
    await stage.deploy("fix")
    await stage.until("fix", "watching")
    await stage.pass_time(stage.vary(30.0, 10.0, 200.0))


DRILL = Drill(
    name="fix-forward",
    title="The fix comes while the fault is being confirmed",
    day="A release goes down. Its author saw it, too, and deploys the fix two seconds later, while the watchdog "
    "counts failures.",
    others="A rollback that was decided a second ago is written over the fix (RackulaLives/Rackula#3216, "
    "InVisionApp/kit-deployer#89); Cloud Deploy skips its own only where the newer rollout is Cloud Deploy's.",
    ours="Notice that a newer revision took over, end the bad one's watch as superseded without a write, and watch "
    "the fix. A write that is under way is refused by its resourceVersion.",
    expect=Expect(outcomes={"bad": "superseded", "fix": "open"}, serving={"fix": 100}, writes=0),
    play=_play,
    within_s=400.0,
)
