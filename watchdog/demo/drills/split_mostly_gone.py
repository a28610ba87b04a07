"""Most of what served before the deploy cannot serve any more."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _two(stage: Stage) -> None:
    await stage.deploy("big", percent=60)
    await stage.move(good=40, big=60)


async def _play(stage: Stage) -> None:
    after_s = stage.vary(10.0, 5.0, 60.0)
    await stage.deploy("bad", {"kind": "down", "after_s": after_s}, percent=100)
    await stage.until("bad")
    await stage.condemn("big")
    await stage.pass_time(after_s)
    stage.fault_now()
    await stage.until("bad", "held", within_s=90)
    await stage.pass_time(20)


DRILL = Drill(
    name="split-mostly-gone",
    title="Most of what served before is gone",
    day="Two revisions shared the traffic 40 : 60. A release takes all of it and goes down. Meanwhile the larger one "
    "is not Ready any more.",
    others="They try it: the write fails, or the small one gets two and a half times its traffic cold.",
    ours="Less than half of the former place remains, so nothing is written: page at once, with the reason and what "
    "to do.",
    expect=Expect(outcomes={"bad": "open"}, serving={"bad": 100}, writes=0, pages=("Rollback refused",)),
    play=_play,
    set_up=_two,
)
