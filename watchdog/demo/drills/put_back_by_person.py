"""While the rollback is still being verified somebody moves traffic to the bad revision again."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage

PERSON = {"by": "jane@barqfleet.com", "client": "cloud-console"}


async def _play(stage: Stage) -> None:
    after_s = stage.vary(5.0, 0.0, 20.0)
    await stage.deploy("bad", {"kind": "down", "after_s": after_s})
    await stage.pass_time(after_s)
    stage.fault_now()
    await stage.served(good=100)
    await stage.pass_time(stage.vary(2.0, 1.0, 4.0))
    stage.say("Somebody who takes the rollback for a mistake moves all traffic to the new revision again.")
    await stage.move(bad=100, who=PERSON)
    await stage.paged("Bad revision is back", "jane (with the Cloud Console) put it back", "Ask jane first")
    view = await stage.until("bad")
    stage.check("the watch says", view["reason"], "jane (with the Cloud Console) put it back")
    await stage.pass_time(stage.vary(10.0, 5.0, 30.0))


DRILL = Drill(
    name="put-back-by-person",
    title="A person puts the bad revision back",
    day="A release goes down and is rolled back. Seconds later, before the rollback has been verified, somebody moves "
    "all traffic to the new revision again in the Cloud Console.",
    others="A tool that reconciles fights the person; one that trusts its own write reports a success that is not "
    "there any more.",
    ours="See within a second that it serves again, page with who did it and with what, and count the release as "
    "failed. Nothing more is written: a person who acts on purpose is asked, not fought.",
    expect=Expect(
        outcomes={"bad": "open"},
        serving={"bad": 100},
        writes=1,
        pages=("Rolling back", "Bad revision is back"),
    ),
    play=_play,
    within_s=480.0,
)
