"""The certificate before a healthy release runs out."""

from watchdog.demo import edge_days
from watchdog.demo.drill import Drill
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    await edge_days.breaks(stage, "certificate", said="The certificate of the domain runs out.")


DRILL = Drill(
    name="edge-certificate",
    title="The certificate runs out during a watch",
    day="The load balancer's certificate was not renewed. Within the first minutes of a deploy it expires, and every "
    "client refuses to talk to the service.",
    others="Probes fail, a rollback follows: the old revision is behind the same certificate.",
    ours="The probe says that it was the certificate; the revision's own URL, with Google's certificate, answers. Move "
    "nothing, page.",
    expect=edge_days.HELD,
    play=_play,
    set_up=edge_days.with_an_entrance,
    within_s=360.0,
)
