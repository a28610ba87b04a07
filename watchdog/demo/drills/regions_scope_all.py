"""`rollback.scope: all`: proof in one region takes the same release back in the other, and not what differs from it."""

from watchdog.demo import region_days
from watchdog.demo.drill import Drill, Expect
from watchdog.demo.region_days import EAST, IMAGE
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    after_s = stage.vary(10.0, 3.0, 20.0)
    await stage.deploy("bad-east", region=EAST, image=IMAGE)
    await stage.deploy("bad", {"kind": "down", "after_s": after_s}, image=IMAGE)
    await stage.pass_time(after_s)
    stage.fault_now()
    guilty = await stage.until("bad", "ended", within_s=90.0)
    east = await stage.until("bad-east", "ended", within_s=30.0)
    await stage.served(region=EAST, **{"good-east": 100})
    stage.check("why the other region went back", east["reason"], "the same release was rolled back in us-central1")
    stage.require("the other region's proof is its own", east["rollback"]["trigger"] == "region:us-central1")
    stage.require("the first region says it was the other", guilty["rollback"]["trigger"] == "health_check failing")
    await region_days.one_incident(stage, "bad", "bad-east")


DRILL = Drill(
    name="regions-scope-all",
    title="Proof in one region counts in all of them",
    day="The same release runs in two regions, and the team has said that a release which is proven bad in one of them "
    "shall go back everywhere (`rollback.scope: all`). It goes down in one.",
    others="Rollout tools that stop at a bad region leave the release in the others, or take all of them back in one "
    "write without asking whether each has something to go back to.",
    ours="The guilty region goes back at once. The other one takes its word within a second: it runs exactly the same, "
    "so it goes back too, by its own preflight, target, budget and fenced write, and says which region it was.",
    expect=Expect(
        outcomes={"bad": "rolled_back", "bad-east": "rolled_back"},
        serving={"good": 100},
        writes=2,
        pages=(
            "Rolling back barq-fleet-api (us-central1)",
            "Rolling back barq-fleet-api (us-east1): region:us-central1",
        ),
    ),
    play=_play,
    policy=region_days.policy(scope="all"),
    set_up=region_days.second_region,
    within_s=300.0,
)
