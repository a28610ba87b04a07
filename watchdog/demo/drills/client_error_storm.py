"""A release refuses what it took before: no server error anywhere, and a third of the users cannot go on."""

from watchdog.demo import noise_days
from watchdog.demo.drill import Cloud, Drill, Expect
from watchdog.demo.stage import Json, Stage


def _refused(share: float, status: int, after_s: float = 0.0) -> Json:
    return {"kind": "status", "status": status, "share": share, "users_only": True, "after_s": after_s}


async def _before(stage: Stage) -> None:
    await stage.faults("good", _refused(0.03, 404))
    await stage.pass_time(120.0)


async def _play(stage: Stage) -> None:
    after_s = stage.vary(15.0, 12.0, 60.0)
    storm = _refused(stage.vary(0.35, 0.25, 0.8), stage.pick(422, 400, 401, 403), after_s)
    await stage.deploy("v2", storm, _refused(0.03, 404))
    await stage.pass_time(after_s)
    stage.fault_now()
    line = await noise_days.told(stage, "v2", "Investigate")
    stage.check("the line", line, "client_error_rate", "x before")
    stage.require("nothing was rolled back", not await stage.writes())


DRILL = Drill(
    name="client-error-storm",
    title="A release refuses what it took before",
    day="A release has made a field required. A third of all requests now end in a 422; there is no server error, and "
    "every probe is green. Scanners have always made three requests of a hundred 404s.",
    others="Error rates count 5xx, so nothing is seen. Where they count 4xx as well, the scanners' 404s raise the "
    "alarm every night, until somebody turns it off.",
    ours="Compare with the hour before the deploy: the usual 404s are in it. Several times as many are told within a "
    "minute. Whether the release or its callers are wrong is for a person to say, so nothing is rolled back.",
    expect=Expect(outcomes={"v2": "open"}, serving={"v2": 100}, writes=0),
    play=_play,
    set_up=_before,
    policy={"alert_thresholds": [{"metric": "client_error_rate", "warning": "> 3x before"}]},
    cloud=Cloud(load_per_s=20.0),
    within_s=240.0,
)
