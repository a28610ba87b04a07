"""A deploy tool takes a release from 5 to 50 to 100 %; it goes down on the way, and the last step crosses our write."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    await stage.deploy("bad", percent=5, tag="canary")
    opened = await stage.until("bad", "watching")
    gate = f"/api/v1/gate?service={stage.service}&promote=true"
    early = await stage.world.watchdog("GET", gate)
    stage.require(f"the next step is allowed at once: {early['reason']}", not early["allowed"])
    await stage.pass_time(stage.vary(30.0, 10.0, 120.0))
    await stage.move(good=50, bad=50)
    await stage.pass_time(stage.vary(20.0, 5.0, 60.0))
    stage.say("The release goes down; the deploy tool takes its next step just before the rollback is written.")
    full = {stage.revision("bad"): 100}
    await stage.admin_fault(kind="race", on="writes", count=1, traffic=full)
    await stage.faults("bad", stage.pick({"kind": "down"}, {"kind": "status", "status": 500}, {"kind": "reset"}))
    stage.fault_now()
    ended = await stage.until("bad", "ended", within_s=90)
    stage.require("each step made a watch of its own", ended["id"] == opened["id"])
    steps = [entry["text"] for entry in ended["timeline"] if entry["kind"] == "promoted"]
    stage.check("the timeline", steps, "from 5 % to 50 % of the traffic; the immediate window starts again")


DRILL = Drill(
    name="canary-promoted",
    title="Down on the way from 5 to 100 %",
    day="A deploy tool gives a release 5 %, then 50 %. At half of the traffic it goes down, and the tool, which knows "
    "nothing of it, takes the last step in the very moment at which the rollback is written.",
    others="A rollback without compare and swap restores the split that it has read, and the tool's last step or the "
    "rollback is lost, whichever wrote first. One watch a step forgets what the step before has shown.",
    ours="One watch: a step starts its windows again and keeps its target. The lost race is judged afresh: more "
    "traffic for the same bad revision is no objection, so all of what it has by then is taken away, in one write.",
    expect=Expect(outcomes={"bad": "rolled_back"}, serving={"good": 100}, writes=1, pages=("Rolling back",)),
    play=_play,
    within_s=300.0,
)
