"""After the rollback traffic is pinned: the corrected revision gets none until somebody says `watchdog release`."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    after_s = stage.vary(5.0, 0.0, 20.0)
    await stage.deploy("bad", {"kind": "down", "after_s": after_s})
    await stage.pass_time(after_s)
    stage.fault_now()
    await stage.until("bad", "ended", within_s=90)
    stage.check("release while the bad one is the latest", await stage.release(), "412", "was rolled back")
    await stage.pass_time(stage.vary(10.0, 5.0, 90.0))
    await stage.deploy("fix")
    await stage.pass_time(stage.vary(10.0, 1.0, 30.0))
    await stage.served(good=100, within_s=1.0)
    stage.require("a revision without traffic is watched", await stage.outcome("fix") == "none")
    said = await stage.release()
    stage.require(f"release was refused: {said}", not said)
    await stage.served(fix=100, within_s=30.0)
    await stage.until("fix", "watching")
    await stage.pass_time(8.0)
    await stage.deploy("next")
    await stage.served(next=100, within_s=30.0)
    await stage.until("next", "watching")


DRILL = Drill(
    name="release",
    title="The pin after a rollback, and its release",
    day="A bad release was rolled back. The fix is deployed and gets no traffic, since a rollback on Cloud Run pins "
    "the split; somebody releases it.",
    others="The pin stays where nobody thinks of it, and the next deploys serve nobody without a word about it. "
    "Routing to the latest revision by hand may route to the bad one.",
    ours="Say in every message that traffic is pinned. Refuse to release while the latest revision is the bad one; "
    "once it is the fix, let traffic follow the latest revision again, as before, and watch the fix as any deploy.",
    expect=Expect(
        outcomes={"bad": "rolled_back", "fix": "superseded", "next": "open"},
        serving={"next": 100},
        writes=2,
        pages=("Rolling back",),
    ),
    play=_play,
    within_s=900.0,
)
