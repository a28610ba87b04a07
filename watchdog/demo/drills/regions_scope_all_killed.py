"""kill -9 between the first region's write and its word to the second one."""

from watchdog.demo import region_days
from watchdog.demo.drill import Drill, Expect
from watchdog.demo.region_days import EAST, IMAGE
from watchdog.demo.stage import LOOK_EVERY_S, OffScriptError, Stage


async def _play(stage: Stage) -> None:
    after_s = stage.vary(10.0, 3.0, 20.0)
    await stage.deploy("bad-east", region=EAST, image=IMAGE)
    await stage.deploy("bad", {"kind": "down", "after_s": after_s}, image=IMAGE)
    await stage.pass_time(after_s)
    stage.fault_now()
    give_up = stage.now() + 60.0
    while not await stage.writes():
        if stage.now() > give_up:
            raise OffScriptError("nothing was written")
        await stage.pass_time(LOOK_EVERY_S / 5)
    stage.say("The watchdog is killed right after the first region's write.")
    await stage.world.kill_daemon()
    away_s = stage.vary(16.0, 1.0, 25.0)
    await stage.pass_time(away_s)
    await stage.world.start_daemon()
    east = await stage.until("bad-east", "ended", within_s=60.0)
    stage.check("why the other region went back", east["reason"], "the same release was rolled back in us-central1")
    await stage.served(region=EAST, **{"good-east": 100})


DRILL = Drill(
    name="regions-scope-all-killed",
    title="Killed between two regions",
    day="With `rollback.scope: all`, a release is rolled back in the first region, and the watchdog's process is "
    "killed before anything has happened in the second one.",
    others="A message that was about to be sent is lost with its sender, and the second region keeps the release.",
    ours="Nothing is told that could be lost: each region asks what has become of its release in the others, from what "
    "their journals say, so the next process finds it and takes the second region back too, once.",
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
    within_s=400.0,
)
