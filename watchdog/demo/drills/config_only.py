"""Same image, wrong environment; the corrected deploy of the same image must not be blocked."""

from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage

IMAGE = "us-docker.pkg.dev/barq-fleet/api/api:good"


async def _play(stage: Stage) -> None:
    after_s = stage.vary(5.0, 0.0, 60.0)
    fault = {"kind": "status", "status": 500, "after_s": after_s}
    await stage.deploy("wrong-env", fault, image=IMAGE, env={"DATABASE_URL": "postgresql://db-typo/barq"})
    await stage.pass_time(after_s)
    stage.fault_now()
    await stage.until("wrong-env", "ended", within_s=90)
    stage.check("release while the bad one is the latest", await stage.release(), "412", "was rolled back")
    allowed = await stage.gate(IMAGE)
    stage.require(f"the gate blocks the image although it was innocent: {allowed['reason']}", allowed["allowed"])
    said = await stage.release(on_next=True)
    stage.require(f"release --on-next was refused: {said}", not said)
    await stage.deploy("corrected", image=IMAGE, env={"DATABASE_URL": "postgresql://db/barq"})
    await stage.served(corrected=100, within_s=30)
    await stage.until("corrected", "watching")
    await stage.pass_time(20)


DRILL = Drill(
    name="config-only",
    title="A configuration-only deploy, and its correction",
    day="Somebody changes an environment variable: the same image, a new revision, every request fails. It is rolled "
    "back, and ten minutes later the corrected variable is deployed, with the same image again.",
    others="Tools that remember the bad image or digest block the correction as well, since nothing but the "
    "configuration differs. Cloud Run Release Manager remembers one failed revision and nothing of why.",
    ours="What is known bad is a fingerprint: image digest, environment, secret versions, resources, command. The "
    "image that serves well again is innocent, so the gate lets it through, and the correction is watched as "
    "any deploy.",
    expect=Expect(
        outcomes={"wrong-env": "rolled_back", "corrected": "open"},
        serving={"corrected": 100},
        writes=2,
        pages=("Rolling back",),
    ),
    play=_play,
    within_s=240.0,
)
