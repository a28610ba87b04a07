"""A release that takes its time to start, and is as good as any once it has."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    starts_s = stage.vary(14.0, 8.0, 18.0)
    await stage.deploy("slow", {"kind": "hang", "for_s": starts_s})
    stage.say(f"It answers nothing for {starts_s:.0f} s: caches are filled, connections opened.")
    stage.fault_now()
    await stage.until("slow")
    await stage.pass_time(starts_s)
    stage.require("traffic was moved while it was starting", not await stage.writes())
    await stage.until("slow", "watching", within_s=30)
    await stage.pass_time(stage.vary(60.0, 30.0, 90.0))


DRILL = Drill(
    name="slow-starter",
    title="A release that starts slowly",
    day="The new version loads a model before its first answer. Cloud Run has sent it all traffic; for a quarter of a "
    "minute every request hangs, and so does every probe.",
    others="Five timeouts in a row are an outage, so the release is rolled back each time that it is deployed, until "
    "somebody raises every limit that there is.",
    ours="The probes' `startup` says how long a start may take. A run of timeouts that is shorter counts neither as "
    "down nor in the share of failed probes; any other failure counts at once.",
    expect=Expect(outcomes={"slow": "open"}, serving={"slow": 100}, writes=0),
    play=_play,
    policy={"probes": {"health": {"startup": "25s"}, "ready": {"startup": "25s"}}},
    within_s=240.0,
)
