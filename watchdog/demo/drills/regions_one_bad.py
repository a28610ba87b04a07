"""One release in two regions is down in one of them: that one goes back, the other stays, and it is one incident."""

from watchdog.demo import region_days
from watchdog.demo.drill import Drill, Expect
from watchdog.demo.region_days import EAST, IMAGE
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    after_s = stage.vary(10.0, 3.0, 20.0)
    await stage.deploy("bad-east", region=EAST, image=IMAGE)
    await stage.pass_time(stage.vary(2.0, 0.0, 20.0))
    await stage.deploy("bad", {"kind": "down", "after_s": after_s}, image=IMAGE)
    await stage.pass_time(after_s)
    stage.fault_now()
    await stage.until("bad", "ended", within_s=90.0)
    await stage.pass_time(stage.vary(5.0, 2.0, 30.0))
    await stage.served(region=EAST, **{"bad-east": 100})
    healthy = await stage.until("bad-east", "watching", within_s=1.0)
    stage.require("something was decided in the healthy region", not healthy["decisions"])
    await region_days.one_incident(stage, "bad-east", "bad")


DRILL = Drill(
    name="regions-one-bad",
    title="A release is bad in one of its two regions",
    day="The same image is deployed to two regions. In one of them it goes down: a secret is missing there.",
    others="A rollback by release takes the healthy region back as well; one by region opens an incident each, and "
    "nobody sees that it is the same release.",
    ours="A watch for each region, with its own probes, split and target: only the guilty region goes back. One thread "
    "in Slack and one set of pages tell of both, and its root message shows how each region stands.",
    expect=Expect(
        outcomes={"bad": "rolled_back", "bad-east": "open"},
        serving={"good": 100},
        writes=1,
        pages=("Rolling back barq-fleet-api (us-central1)",),
    ),
    play=_play,
    policy=region_days.policy(),
    set_up=region_days.second_region,
    within_s=400.0,
)
