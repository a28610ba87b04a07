"""The domain's DNS record is gone."""

from watchdog.demo import edge_days
from watchdog.demo.drill import Drill
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    await edge_days.breaks(stage, "name", said="Somebody deletes the DNS record of the domain.")


DRILL = Drill(
    name="edge-dns",
    title="The name of a healthy release is not found any more",
    day="Half a minute after a deploy somebody tidies up DNS, and the record of the domain goes with it. Nobody "
    "reaches the service; the service is well.",
    others="A health check by the domain fails, and the release that happened to be deployed last is rolled back. "
    "Nobody reaches the old one either, and whoever is woken looks for the fault in the code.",
    ours="Ask the revision by its own URL beside the domain, from the first failure on. It answers: the fault is at "
    "the edge. Move nothing, page with what to look at, and go on when the name is back.",
    expect=edge_days.HELD,
    play=_play,
    set_up=edge_days.with_an_entrance,
    within_s=360.0,
)
