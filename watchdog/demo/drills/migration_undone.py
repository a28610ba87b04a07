"""The deploy brought a migration; the policy has a job that undoes it, and lets it run before traffic goes back."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import LOOK_EVERY_S, OffScriptError, Stage

LABEL, JOB = "db-schema", "barq-fleet-migrate-down"


async def _before(stage: Stage) -> None:
    await stage.deploy("v41", labels={LABEL: "41"}, tag="before")
    body = {"takes_s": stage.vary(8.0, 1.0, 30.0)}
    await stage.world.emulator("PUT", f"/emulator/jobs/{JOB}", body)


async def _runs(stage: Stage) -> int:
    return len((await stage.world.emulator("GET", f"/emulator/jobs/{JOB}"))["executions"])


async def _begun(stage: Stage) -> None:
    give_up = stage.now() + 60.0
    while not await _runs(stage):
        if stage.now() > give_up:
            raise OffScriptError("the job was not run within 60 s")
        await stage.pass_time(LOOK_EVERY_S)


async def _play(stage: Stage) -> None:
    after_s = stage.vary(5.0, 0.0, 60.0)
    await stage.deploy("v42", {"kind": "down", "after_s": after_s}, labels={LABEL: "42"})
    await stage.until("v42")
    await stage.pass_time(after_s)
    stage.fault_now()
    if stage.seed % 2:
        stage.say("The answer to the job's start is lost.")
        await stage.admin_fault(kind="drop", on="writes", count=1, after=True)
    await _begun(stage)
    stage.require("traffic moved before the database was back", not await stage.writes())
    await stage.world.kill_daemon()
    stage.say("The job runs; the watchdog is killed, and started again.")
    await stage.pass_time(stage.vary(2.0, 0.0, 10.0))
    await stage.world.start_daemon()
    view = await stage.until("v42", "ended", within_s=120)
    stage.require(f"the job ran {await _runs(stage)} times", await _runs(stage) == 1)
    stage.check("the timeline", [e["text"] for e in view["timeline"]], "has undone the migration")


DRILL = Drill(
    name="migration-undone",
    title="The database goes back first",
    day="A release migrates the database and goes down. The old code cannot read the new schema. There is a job that "
    "undoes the migration. While it runs, the watchdog is killed with -9.",
    others="Traffic goes back to code that cannot read its database, or nothing happens until somebody has found the "
    "command. A script that is started again after a crash undoes two migrations.",
    ours="The policy says in so many words that the job may run. Hold the traffic, run it once, take up the same "
    "execution after the kill, and roll back when it has succeeded.",
    expect=Expect(
        outcomes={"v42": "rolled_back"}, serving={"v41": 100}, writes=1, pages=("Held, not rolled back", "Rolling back")
    ),
    play=_play,
    set_up=_before,
    policy={
        "rollback": {"schema_label": LABEL},
        "database_rollback": {"job": JOB, "run": "automatic"},
    },
    within_s=300.0,
)
