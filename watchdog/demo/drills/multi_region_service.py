"""One Cloud Run service that spans several regions goes down: asked about, not rolled back by itself."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage

SPANS = {"run.googleapis.com/regions": "us-central1,europe-west1"}


async def _play(stage: Stage) -> None:
    after_s = stage.vary(5.0, 0.0, 20.0)
    await stage.deploy("bad", {"kind": "down", "after_s": after_s}, annotations=SPANS)
    view = await stage.until("bad", "watching")
    stage.check("the mode", view["mode"], "approve")
    stage.check("the opening message", view["notes"], "Mode automatic is refused and acts as approve")
    await stage.pass_time(after_s)
    stage.fault_now()
    await stage.until("bad", "awaiting_approval", within_s=60.0)
    await stage.paged("Approve the rollback")
    await stage.pass_time(stage.vary(5.0, 1.0, 40.0))
    stage.require("it was written without a person's word", not await stage.writes())
    await stage.act("rollback", "bad", reason="both regions are down")


DRILL = Drill(
    name="multi-region-service",
    title="One service in several regions",
    day="A service was deployed with `--regions`: one resource that Cloud Run replicates to two regions. Its release "
    "goes down. The policy says `mode: automatic`.",
    others="Written through one region's endpoint, a rollback of such a service may be undone by the replication, or "
    "move regions that were not looked at; nobody has said which.",
    ours="Refuse automatic mode for it and say why, in `preflight` and when the watch opens; act as `approve`: prove "
    "the fault, ask, and roll back on a person's word.",
    expect=Expect(
        outcomes={"bad": "rolled_back"},
        serving={"good": 100},
        writes=1,
        pages=("Approve the rollback", "Rolling back"),
    ),
    play=_play,
    within_s=480.0,
)
