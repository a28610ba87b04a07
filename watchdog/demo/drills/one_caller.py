"""One client sends what the service cannot take, while the release is as healthy as can be."""

from watchdog.demo import noise_days
from watchdog.demo.drill import Drill, Expect
from watchdog.demo.stage import Stage


async def _play(stage: Stage) -> None:
    fails = noise_days.broken_for_client(stage.pick(500, 503, 502))
    await stage.faults("good", fails)
    await stage.deploy("v2", fails)
    await stage.until("v2", "watching")
    await stage.pass_time(stage.vary(30.0, 15.0, 90.0))
    stage.fault_now()
    await stage.load(stage.vary(4.0, 2.0, 12.0), **noise_days.CLIENT)
    line = await noise_days.told(stage, "v2", "One caller")
    stage.check("the line", line, "caller 198.51.100.x", "others use GET", "Nothing is rolled back")
    await stage.pass_time(60.0)
    view = await stage.until("v2")
    rows = {row["id"]: row["verdict"] for row in view["criteria"]}
    stage.check("error_rate < 1%", str(rows["success.error_rate"]), "WARN")


DRILL = Drill(
    name="one-caller",
    title="One client fails by itself, and the release is healthy",
    day="Minutes after a healthy release one customer's client begins to send what the service cannot take, and tries "
    "again and again. One request of six ends in a 500; everybody else is served as ever.",
    others="An error-rate alert rolls a healthy release back, the client goes on failing on the old one, and nobody "
    "knows more than before. Canary analysis compares shares, not who is behind them.",
    ours="See in the request log that one address is behind nearly all of the errors, while others use the same routes "
    "well: warn in chat, name it by a pseudonym, roll nothing back, wake nobody, and judge each further proof anew.",
    expect=Expect(outcomes={"v2": "open"}, serving={"v2": 100}, writes=0),
    play=_play,
    cloud=noise_days.BUSY,
    within_s=420.0,
)
