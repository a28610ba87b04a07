"""After the rollback `terraform apply` runs once more, and the bad revision serves again."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage

TERRAFORM = {
    "by": "deployer@barq-fleet.iam.gserviceaccount.com",
    "client": "terraform",
    "client_version": "1.9.8",
}


async def _play(stage: Stage) -> None:
    after_s = stage.vary(5.0, 0.0, 20.0)
    await stage.deploy("bad", {"kind": "down", "after_s": after_s}, client="gcloud", client_version="502.0.0")
    await stage.pass_time(after_s)
    stage.fault_now()
    first = await stage.until("bad", "ended", within_s=90)
    stage.check("the first watch", first["outcome"], "rolled_back")
    await stage.pass_time(stage.vary(10.0, 5.0, 90.0))
    stage.say("A scheduled terraform apply restores what its configuration says: all traffic to the latest revision.")
    await stage.move(LATEST=100, who=TERRAFORM)
    again = await stage.until("bad", "watching", within_s=30)
    stage.require("it is watched anew", again["id"] != first["id"])
    stage.check("the mode of the new watch", again["mode"], "observe")
    told = [entry["text"] for entry in again["timeline"] if entry["kind"] == "known_bad"]
    stage.check("who did it", told, "Terraform 1.9.8 (as service account deployer) put it back")
    await stage.paged("Known bad revision serves again", "revert the release in its configuration first")
    await stage.paged("Would have rolled back")
    await stage.pass_time(10.0)


DRILL = Drill(
    name="put-back-by-terraform",
    title="Terraform puts the bad revision back",
    day="A bad release was rolled back. Then a scheduled `terraform apply` finds traffic that is not what its "
    "configuration says, and moves all of it to the latest revision again: the bad one.",
    others="A controller that reconciles the other way moves it back, and the two take turns for ever. A tool that is "
    "done after its rollback sees nothing of it.",
    ours="Recognise the revision as one that was rolled back, page, and say that it was Terraform and that its "
    "configuration has to be reverted first, or pinned. Watch it and write nothing: who put it back is not fought.",
    expect=Expect(
        outcomes={"bad": "open"},
        serving={"bad": 100},
        writes=1,
        pages=("Rolling back", "Known bad revision serves again", "Would have rolled back"),
    ),
    play=_play,
    within_s=900.0,
)
