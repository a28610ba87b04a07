"""The deploy brought a migration that the old code does not know, and says so by a label."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage

LABEL = "db-schema"


async def _before(stage: Stage) -> None:
    await stage.deploy("v41", labels={LABEL: "41"}, tag="before")


async def _play(stage: Stage) -> None:
    after_s = stage.vary(5.0, 0.0, 60.0)
    fault = stage.pick({"kind": "down"}, {"kind": "status", "status": 500}, {"kind": "hang"})
    await stage.deploy("v42", {**fault, "after_s": after_s}, labels={LABEL: "42"})
    opened = await stage.until("v42")
    stage.check("the opening's notes", opened["notes"], "The schema changes with this deploy (db-schema: 41, now 42)")
    await stage.pass_time(after_s)
    stage.fault_now()
    held = await stage.until("v42", "held", within_s=90)
    stage.check("why it is held", held["hold"]["reason"], "v42 has the label db-schema: 42", "v41 says 41")
    await stage.act("signals", "v42", signal="database_corruption", reason="wrong rows")
    await stage.pass_time(5)
    stage.require("traffic moved although the schemas differ", not await stage.writes())
    stage.say("The migration is undone; a person rolls back.")
    await stage.act("rollback", "v42", reason="the migration is undone")
    await stage.until("v42", "ended", within_s=60)


DRILL = Drill(
    name="schema-changed",
    title="The old code would meet a schema that it does not know",
    day="A release migrates the database and goes down. The old code cannot read the new schema: going back to it "
    "would turn an outage into damage. Somebody even says that the database is corrupt.",
    others="Rollbacks by health check move traffic whatever the database says. Deploy tools leave it to a flag that "
    "nobody sets at night.",
    ours="Both revisions carry the label that the policy names. It differs: say so when the watch opens, page with the "
    "way out, hold against probes and signals alike, and roll back on a person's word.",
    expect=Expect(
        outcomes={"v42": "rolled_back"},
        serving={"v41": 100},
        writes=1,
        pages=("Rollback refused", "Rollback waits", "Rolling back"),
    ),
    play=_play,
    set_up=_before,
    policy={"rollback": {"schema_label": LABEL}},
)
