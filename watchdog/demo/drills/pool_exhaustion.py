"""The release takes every database connection, so that the old revision starves as well."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage

SICK = {"kind": "status", "status": 503}


async def _play(stage: Stage) -> None:
    await stage.deploy("bad")
    await stage.until("bad", "watching")
    await stage.pass_time(stage.vary(45.0, 10.0, 300.0))
    await stage.faults("bad", SICK)
    await stage.pass_time(stage.vary(0.0, 0.0, 1.0))
    await stage.faults("good", SICK)
    stage.fault_now()
    await stage.until("bad", "held", within_s=30)
    await stage.served(good=100, within_s=200)
    await stage.pass_time(stage.vary(3.0, 0.0, 20.0))
    await stage.faults("good")  # without the release its connections come back


DRILL = Drill(
    name="pool-exhaustion",
    title="The release starves the old revision as well",
    day="A release leaks database connections until none is left. From then on both revisions answer 503: the old "
    "one is the release's victim, not a witness for it.",
    others="A comparison of new and old (Kayenta, Argo's experiments) finds no difference and lets the release stand.",
    ours="Both are sick, so page and ask: for two minutes a person may say that the cause is elsewhere. Then undo "
    "the last change, the cheapest test there is; the old revision recovers once the release is gone.",
    expect=Expect(
        outcomes={"bad": "rolled_back"},
        serving={"good": 100},
        writes=1,
        pages=("Held, not rolled back", "Rolling back"),
    ),
    play=_play,
    within_s=700.0,
)
