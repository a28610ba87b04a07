"""What the release depends on was down before it was deployed."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage

SICK = {"kind": "status", "status": 503}


async def _play(stage: Stage) -> None:
    await stage.faults("good", SICK)
    await stage.pass_time(stage.vary(75.0, 70.0, 300.0))
    await stage.deploy("bad", SICK)
    stage.fault_now()
    held = await stage.until("bad", "held", within_s=60)
    stage.check("why it is held", held["hold"]["reason"], "would not help", "before this deploy already")
    await stage.pass_time(stage.vary(200.0, 130.0, 400.0))
    await stage.faults("good")
    await stage.faults("bad")
    await stage.until("bad", "watching", within_s=60)


DRILL = Drill(
    name="dependency-before",
    title="The database was down before the deploy",
    day="The database is down, and has been for a minute, when a release is deployed. Both revisions answer 503. "
    "Minutes later it comes back.",
    others="Every health gate sees a failing new release and rolls back, or blocks the fix. An alarm that was firing "
    "at the start makes ECS ignore all alarms for that deployment.",
    ours="The daemon's probing between watches knows that the service was sick before; the old revision fails the "
    "same probe beside the new one. Page, hold for as long as both fail, and go on watching when the database "
    "is back.",
    expect=Expect(outcomes={"bad": "open"}, serving={"bad": 100}, writes=0, pages=("Held, not rolled back",)),
    play=_play,
    within_s=900.0,
)
