"""The old revision has scaled to nothing, and six instances of it are needed: they start before traffic moves."""

from watchdog.demo.drill import Cloud, Drill, Expect
from watchdog.demo.stage import Stage

INSTANCES = 6


async def _busy(stage: Stage) -> None:
    await stage.usage("good", instances=INSTANCES)
    await stage.pass_time(40.0)


async def _play(stage: Stage) -> None:
    after_s = stage.vary(20.0, 15.0, 40.0)
    fault = {"kind": "status", "status": 500, "share": 0.6, "users_only": True}
    await stage.deploy("bad", {**fault, "after_s": after_s})
    cold_s = stage.vary(2.5, 1.0, 3.5)
    await stage.faults("good", {"kind": "startup", "delay_ms": 1000.0 * cold_s, "idle_s": 10.0})
    stage.say(f"The old revision has no instance left; one needs {cold_s:.1f} s to start.")
    await stage.pass_time(after_s)
    stage.fault_now()
    await stage.until("bad", "ended", within_s=120)
    (write,) = await stage.writes()
    warmed = [r for r in await stage.requests("good") if "probe" in r["user_agent"] and r["ended_at"] <= write["at"]]
    at_once = max((sum(abs(r["ended_at"] - other["ended_at"]) < 0.5 for other in warmed) for r in warmed), default=0)
    stage.say(f"Before traffic moved the old revision had answered {len(warmed)} probes, up to {at_once} at a time.")
    stage.require(f"the target was asked {at_once} times at once, expected {INSTANCES} or more", at_once >= INSTANCES)


DRILL = Drill(
    name="cold-target-warmed",
    title="A cold target is warmed for all of its traffic",
    day="Six instances served before the deploy. The release fails most of its users' requests, and the old revision "
    "has been scaled to nothing: the first request to each of its instances waits for a container to start.",
    others="Traffic moves at once, and everybody waits for six containers; one warming request starts one of them.",
    ours="While the alarm is proven, ask the target by its tag: as many requests at a time as instances served before, "
    "five seconds at most. When all of them are answered, traffic moves to a target that is warm.",
    expect=Expect(outcomes={"bad": "rolled_back"}, serving={"good": 100}, writes=1, pages=("Rolling back",)),
    play=_play,
    set_up=_busy,
    policy={"rollback": {"trial": "off"}},
    cloud=Cloud(load_per_s=10.0),
    within_s=300.0,
)
