"""What both revisions depend on goes down a minute after the deploy, and comes back within two."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage

SICK = {"kind": "status", "status": 503}


async def _play(stage: Stage) -> None:
    await stage.deploy("bad")
    await stage.until("bad", "watching")
    await stage.pass_time(stage.vary(60.0, 10.0, 300.0))
    await stage.faults("good", SICK)
    await stage.faults("bad", SICK)
    stage.fault_now()
    held = await stage.until("bad", "held", within_s=30)
    stage.check("why it is held", held["hold"]["reason"], "would not help")
    await stage.pass_time(stage.vary(60.0, 5.0, 100.0))
    await stage.faults("good")
    await stage.faults("bad")
    await stage.until("bad", "watching", within_s=60)
    await stage.pass_time(90)


DRILL = Drill(
    name="dependency-after",
    title="The database goes down after the deploy, and comes back",
    day="A minute after a healthy release took over, the database fails over. Both revisions answer 503 for a minute.",
    others="The new release failed its checks within the analysis: rolled back, and the team looks for a bug that is "
    "not there.",
    ours="The old revision, asked by its tag URL in the same seconds, fails the same probe. Page at once and ask for "
    "two minutes; one passing probe ends the hold. Nothing is written.",
    expect=Expect(outcomes={"bad": "open"}, serving={"bad": 100}, writes=0, pages=("Held, not rolled back",)),
    play=_play,
    within_s=700.0,
)
