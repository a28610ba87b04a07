"""A release breaks its own front door: nobody fails, they just stay away."""

from watchdog.demo import noise_days
from watchdog.demo.drill import Cloud, Drill, Expect
from watchdog.demo.stage import Stage


async def _before(stage: Stage) -> None:
    await stage.pass_time(120.0)


async def _play(stage: Stage) -> None:
    await stage.deploy("v2")
    await stage.until("v2", "watching")
    await stage.pass_time(stage.vary(20.0, 10.0, 60.0))
    stage.fault_now()
    await stage.load(stage.vary(1.0, 0.2, 4.0))
    line = await noise_days.told(stage, "v2", "Investigate")
    stage.check("the line", line, "request_drop", "> 50%")


DRILL = Drill(
    name="traffic-vanished",
    title="Traffic vanishes, and every error rate looks better than ever",
    day="A release ships a web client that calls a wrong address. Of twenty requests a second one is left, and that "
    "one is answered well: no error, no latency, every probe green.",
    others="Error rates and latencies are shares of what comes, so they are perfect. Whoever alerts on few requests is "
    "woken by every quiet night, and has turned it off.",
    ours="Hold the requests of the whole service against the hour before the deploy and the same time yesterday and a "
    "week ago, each by its lowest minutes, our own probes left out. Tell it as request_drop; roll nothing back.",
    expect=Expect(outcomes={"v2": "open"}, serving={"v2": 100}, writes=0),
    play=_play,
    set_up=_before,
    policy={"alert_thresholds": [{"metric": "request_drop", "warning": "> 50%"}]},
    cloud=Cloud(load_per_s=20.0),
    within_s=240.0,
)
