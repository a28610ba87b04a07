"""Automatic mode whose right to write nobody has granted yet."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _read_only(stage: Stage) -> None:
    await stage.iam(write=False)


async def _play(stage: Stage) -> None:
    after_s = stage.vary(5.0, 0.0, 60.0)
    await stage.deploy("bad", {"kind": "down", "after_s": after_s})
    view = await stage.until("bad", "watching")
    stage.check("the mode it acts in", view["mode"], "approve")
    stage.check("why", view["doubt"], "run.services.update is not granted")
    await stage.pass_time(after_s)
    stage.fault_now()
    await stage.until("bad", "awaiting_approval", within_s=60.0)
    await stage.paged("Approve the rollback")
    stage.require("it was written without the right to", not await stage.writes())
    await stage.pass_time(stage.vary(60.0, 5.0, 120.0))
    stage.say("Whoever was woken reads what is missing, and grants it.")
    await stage.iam(write=True)


DRILL = Drill(
    name="no-preflight",
    title="Automatic from day one, and nobody has granted the right to write",
    day="The policy says `mode: automatic`, and the watchdog's account may only read. A release goes down.",
    others="The rollback is tried when it is needed, is refused with a 403, and that is the first time anybody hears "
    "of the missing role.",
    ours="The daemon tests at its start and at the opening whether it could write. It could not, so automatic acts as "
    "approve, and says so with the missing permission: in the log, in the opening message and in the page that asks. "
    "It goes on testing; once the right is there, it rolls back what is waiting, by itself.",
    expect=Expect(
        outcomes={"bad": "rolled_back"},
        serving={"good": 100},
        writes=1,
        pages=("Approve the rollback", "Rolling back"),
    ),
    play=_play,
    set_up=_read_only,
    within_s=400.0,
)
