"""What the drills of noise share: their policy, a client of its own, and what is told in chat."""

from collections.abc import Mapping
from typing import Any, Final

from watchdog.demo.drill import Cloud
from watchdog.demo.stage import LOOK_EVERY_S, Json, OffScriptError, Stage

AGENT: Final = "acme-sync/2.0"
CLIENT: Final[Mapping[str, Any]] = {
    "who": "acme",
    "user_agent": AGENT,
    "address": "198.51.100.7",
    "routes": {"/api/v1/couriers": 1.0, "/api/v1/assignments": 1.0},
}
"""One customer's own client, on routes that everybody uses."""
BUSY: Final = Cloud(load_per_s=20.0, sample_period_s=60.0, ingest_delay_s=180.0)


def broken_for_client(status: int) -> Json:
    """What that client sends fails, on whichever revision."""
    return {"kind": "status", "status": status, "agents": [AGENT]}


async def told(stage: Stage, name: str, word: str, *, within_s: float = 180.0) -> str:
    """Until the revision's timeline has a line with this word; that line, which is told."""
    give_up = stage.now() + within_s
    while stage.now() < give_up:
        view = await stage.watch(name)
        for entry in reversed((view or {}).get("timeline", ())):
            if word in entry["text"]:
                stage.say(str(entry["text"]))
                return str(entry["text"])
        await stage.pass_time(LOOK_EVERY_S)
    raise OffScriptError(f"nobody was told {word!r} within {within_s:.0f} s")
