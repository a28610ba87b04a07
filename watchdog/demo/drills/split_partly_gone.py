"""One of the three revisions that shared the traffic before the deploy cannot serve any more."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _three(stage: Stage) -> None:
    await stage.deploy("left", percent=30)
    await stage.deploy("right", percent=30)
    await stage.move(good=40, left=30, right=30)


async def _play(stage: Stage) -> None:
    after_s = stage.vary(10.0, 5.0, 60.0)
    await stage.deploy("bad", {"kind": "down", "after_s": after_s}, percent=100)
    await stage.until("bad")
    await stage.condemn("left")
    await stage.pass_time(after_s)
    stage.fault_now()
    await stage.until("bad", "ended", within_s=90)
    split = await stage.split()
    stage.require(f"40:30 became {split}, expected 57:43", sorted(split.values()) == [43, 57] and split["good"] == 57)


DRILL = Drill(
    name="split-partly-gone",
    title="A part of what served before is gone",
    day="Three revisions shared the traffic 40 : 30 : 30. A release takes all of it and goes down. Meanwhile one of "
    "the three is not Ready any more: its secret was deleted.",
    others="Cloud Run refuses the whole split when one of its revisions cannot serve, and the rollback fails; a "
    "rollback to one revision loads the rest on it.",
    ours="Leave out what cannot serve and give its share to the others in their proportions, while at least half of "
    "the traffic's former place remains; say so.",
    expect=Expect(
        outcomes={"bad": "rolled_back"}, serving={"good": 57, "right": 43}, writes=1, pages=("Rolling back",)
    ),
    play=_play,
    set_up=_three,
)
