"""What the drills of the way in share: users come by a name, a certificate and a load balancer before Cloud Run."""

from typing import Final

from watchdog.demo.drill import Expect
from watchdog.demo.stage import Stage

HELD: Final = Expect(outcomes={"sound": "open"}, serving={"sound": 100}, writes=0, pages=("Held, not rolled back",))
"""The release is sound: nothing is moved, somebody is woken, and the watch goes on when the way in is well again."""


async def with_an_entrance(stage: Stage) -> None:
    """Users come by a domain of their own."""
    await stage.entrance()


async def breaks(stage: Stage, fault: str, *, said: str) -> None:
    """The way in breaks under a sound release, and is mended."""
    await stage.deploy("sound")
    await stage.until("sound", "watching")
    await stage.pass_time(stage.vary(30.0, 1.0, 200.0))
    stage.say(said)
    await stage.entrance(fault=fault)
    stage.fault_now()
    held = await stage.until("sound", "held", within_s=60)
    stage.check("why it is held", held["hold"]["reason"], "the fault is at the edge")
    await stage.pass_time(stage.vary(20.0, 5.0, 60.0))
    stage.require("traffic was moved although the release is sound", not await stage.writes())
    stage.say("The way in is mended.")
    await stage.entrance()
    await stage.until("sound", "watching", within_s=60)
