"""The load balancer before a healthy release answers by itself."""

from watchdog.demo import edge_days
from watchdog.demo.drill import Drill
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    await edge_days.breaks(stage, "load_balancer", said="The load balancer loses its backend and answers 502.")


DRILL = Drill(
    name="edge-load-balancer",
    title="The load balancer before a healthy release fails",
    day="Somebody changes the load balancer's backend while a release is watched. It has no way to Cloud Run any more "
    "and answers 502 by itself.",
    others="502 is a server error to every rule there is; the release is rolled back, and 502 it remains.",
    ours="The revision answers at its own URL while the load balancer fails: a fault at the edge. Move nothing, page.",
    expect=edge_days.HELD,
    play=_play,
    set_up=edge_days.with_an_entrance,
    within_s=360.0,
)
