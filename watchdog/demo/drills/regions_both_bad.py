"""One release goes down in both of its regions within seconds: each goes back by itself, and people are woken once."""

from watchdog.demo import region_days
from watchdog.demo.drill import Drill, Expect
from watchdog.demo.region_days import EAST, IMAGE
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    after_s = stage.vary(10.0, 3.0, 20.0)
    fault = stage.pick({"kind": "down"}, {"kind": "status", "status": 500}, {"kind": "reset"})
    await stage.deploy("bad", {**fault, "after_s": after_s}, image=IMAGE)
    apart_s = stage.vary(1.0, 0.0, 3.0)
    await stage.pass_time(apart_s)
    await stage.deploy("bad-east", {**fault, "after_s": after_s}, image=IMAGE, region=EAST)
    await stage.pass_time(max(0.0, after_s - apart_s))
    stage.fault_now()
    await stage.until("bad", "ended", within_s=120.0)
    await stage.until("bad-east", "ended", within_s=120.0)
    await stage.served(region=EAST, **{"good-east": 100})
    await stage.pass_time(5.0)
    await region_days.one_incident(stage, "bad", "bad-east")
    stage.check("the incident", [one["status"] for one in await stage.incidents()], "resolved")


DRILL = Drill(
    name="regions-both-bad",
    title="A release is bad in both of its regions",
    day="The same image is deployed to two regions within a second, and goes down in both.",
    others="Every region opens an incident of its own: a release in ten regions pages ten times.",
    ours="Each region proves and rolls back by itself, so none waits for another. The second region's page joins the "
    "first one's incident, which is resolved when the last region has recovered.",
    expect=Expect(
        outcomes={"bad": "rolled_back", "bad-east": "rolled_back"},
        serving={"good": 100},
        writes=2,
        pages=("Rolling back barq-fleet-api (us-central1)", "Rolling back barq-fleet-api (us-east1)"),
    ),
    play=_play,
    policy=region_days.policy(),
    set_up=region_days.second_region,
    within_s=400.0,
)
