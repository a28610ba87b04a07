"""What served before was deleted, and the release is down: its image is deployed again, and traffic goes there."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import LOOK_EVERY_S, OffScriptError, Stage


async def _asked(stage: Stage) -> None:
    """Until the watchdog has decided to deploy the image again, or has just done so."""
    give_up = stage.now() + 60.0
    while stage.now() < give_up:
        view = await stage.watch("bad")
        if view is not None and any(entry["kind"] == "redeploy" for entry in view["timeline"]):
            return
        await stage.pass_time(LOOK_EVERY_S)
    raise OffScriptError("nothing was deployed again within 60 s")


async def _play(stage: Stage) -> None:
    after_s = stage.vary(10.0, 5.0, 60.0)
    await stage.deploy("bad", {"kind": "down", "after_s": after_s})
    await stage.until("bad", "watching")
    lose = stage.pick(stage.delete, stage.condemn)
    await lose("good")
    await stage.pass_time(after_s)
    stage.fault_now()
    refused = {"kind": "status", "status": 503, "for_s": 30.0}
    lost = {"kind": "drop", "after": True, "for_s": 30.0}
    await stage.admin_fault(on="writes", **stage.pick(refused, lost))
    await _asked(stage)
    await stage.world.kill_daemon()
    stage.say("The watchdog is killed between the decision and the answer to its write, and started again.")
    await stage.calm()
    await stage.pass_time(stage.vary(2.0, 0.0, 8.0))
    await stage.world.start_daemon()
    view = await stage.until("bad", "ended", within_s=120)
    await stage.served(again=100)
    told = [entry["text"] for entry in view["timeline"]]
    stage.check("the timeline", told, "deploying", "is Ready, made from the image")


DRILL = Drill(
    name="target-gone-redeploy",
    title="What served before is gone when it is needed",
    day="A release takes all traffic. A clean-up job deletes the revision before it, or its secret; then the release "
    "goes down. Between the decision and its write the watchdog is killed with -9.",
    others="A rollback to a revision that is gone fails, and Cloud Run keeps serving the bad one. Somebody has to "
    "find out which image it was, and deploys it with the bad release's configuration.",
    ours="The template of what served before was kept when the watch opened. Deploy its digest and configuration "
    "again, without traffic; when it is Ready, roll back to it by the usual protocol. One revision is made, however "
    "often the watchdog dies.",
    expect=Expect(outcomes={"bad": "rolled_back"}, serving={"again": 100}, writes=2, pages=("Rolling back",)),
    play=_play,
    policy={"redeploy_image": True},
    tagged=False,
    within_s=240.0,
)
