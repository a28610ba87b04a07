"""Another account writes, and IAM Credentials is away in the minute in which its token is needed."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage

WRITER = "deploy-watchdog-writer@barq-fleet.iam.gserviceaccount.com"


async def _two_identities(stage: Stage) -> None:
    await stage.iam(writers=[WRITER])


async def _play(stage: Stage) -> None:
    after_s = stage.vary(5.0, 0.0, 30.0)
    await stage.deploy("bad", {"kind": "down", "after_s": after_s})
    view = await stage.until("bad", "watching")
    stage.check("the mode it acts in", view["mode"], "automatic")
    stage.say("Every token is revoked, and for a while no new one can be had.")
    away_s = stage.vary(12.0, 2.0, 25.0)
    await stage.admin_fault(kind="status", on="tokens", status=503, for_s=after_s + away_s)
    await stage.iam(writers=[WRITER], revoke=True)
    await stage.pass_time(after_s)
    stage.fault_now()
    await stage.served(good=100, within_s=120.0)
    wrote = {write["account"] for write in await stage.writes()}
    stage.require(f"written by {wrote}, not by {WRITER}", wrote == {WRITER})


DRILL = Drill(
    name="second-identity",
    title="Another account writes, and its token is gone when it is needed",
    day="The watchdog's own account may only read; `rollback.impersonate` names the one that writes. A release goes "
    "down while every token is revoked and IAM Credentials answers 503.",
    others="The process that answers the web holds the right to move production's traffic.",
    ours="Only the write carries the other account's token. One that was revoked is asked for again; none to be had is "
    "a failed try of the write, repeated for about a minute, and people know from the first try on.",
    expect=Expect(
        outcomes={"bad": "rolled_back"},
        serving={"good": 100},
        writes=1,
        pages=("Rolling back",),
    ),
    play=_play,
    set_up=_two_identities,
    policy={"rollback": {"impersonate": WRITER}},
    within_s=240.0,
)
