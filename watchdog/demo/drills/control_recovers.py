"""Both revisions are sick, then only the new one is."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage

SICK = {"kind": "status", "status": 503}


async def _play(stage: Stage) -> None:
    await stage.deploy("bad")
    await stage.until("bad", "watching")
    await stage.pass_time(stage.vary(180.0, 160.0, 500.0))
    await stage.faults("good", SICK)
    await stage.faults("bad", SICK)
    await stage.until("bad", "held", within_s=60)
    await stage.pass_time(stage.vary(30.0, 5.0, 90.0))
    await stage.faults("good")
    stage.fault_now()


DRILL = Drill(
    name="control-recovers",
    title="Both were sick; the old one recovers, the new one does not",
    day="In the short-term window a dependency goes down under both revisions. It comes back, the old revision with "
    "it; the new one has lost its connections for good.",
    others="A tool that decided “shared cause” once stays with it; one that does not know the idea has rolled back "
    "long ago.",
    ours="A hold is asked again every second. Once the old revision passes and the new one has failed three times "
    "beside it, traffic goes back; the first pass alone may only mean that it was asked first.",
    expect=Expect(
        outcomes={"bad": "rolled_back"},
        serving={"good": 100},
        writes=1,
        pages=("Held, not rolled back", "Rolling back"),
    ),
    play=_play,
    policy={
        "windows": {
            "immediate": {"until": "2m"},
            "short_term": {"until": "20m", "probe_every": "5s"},
            "extended": {"until": "2h"},
        }
    },
    within_s=900.0,
)
