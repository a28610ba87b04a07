"""A firewall rule before a healthy release blocks what it should not."""

from watchdog.demo import edge_days
from watchdog.demo.drill import Drill
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    await edge_days.breaks(stage, "firewall", said="A new firewall rule takes everybody for an attacker.")


DRILL = Drill(
    name="edge-waf",
    title="A firewall rule blocks everybody",
    day="The security team tightens a rule of the web firewall while a release is watched. It answers 403 to users and "
    "to our probes alike.",
    others="A 403 where 200 was expected is a failed check; traffic goes back to a revision behind the same firewall.",
    ours="The revision answers at its own URL, which the firewall does not stand before: a fault at the edge. Move "
    "nothing, page.",
    expect=edge_days.HELD,
    play=_play,
    set_up=edge_days.with_an_entrance,
    within_s=360.0,
)
