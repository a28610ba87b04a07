"""What the drills of the trial rollback share: their policy, their users, and how far a trial has come."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from watchdog.demo.drill import Cloud
from watchdog.demo.stage import LOOK_EVERY_S, Json, OffScriptError, Stage

POLICY: Final[Mapping[str, Any]] = {"rollback": {"mode": "automatic", "trial": "20%", "cooldown": "1s"}}
BUSY: Final = Cloud(load_per_s=20.0, sample_period_s=60.0, ingest_delay_s=180.0)
"""As many users as a trial needs to see half of all requests failing. Cloud Monitoring is as slow as the real one: the
request log is what judges a trial."""
TRIED_S: Final = 90.0
"""From the proof to the end of a trial, at most."""


async def until_trial(stage: Stage, name: str, holds: Callable[[Json], bool], *, within_s: float = 120.0) -> Json:
    """Until the trial of a revision is as asked for; its part of the read model."""
    give_up = stage.now() + within_s
    found: Json = {}
    while stage.now() < give_up:
        view = await stage.watch(name)
        found = dict((view or {}).get("trial") or {})
        if found and holds(found):
            return found
        await stage.pass_time(LOOK_EVERY_S)
    raise OffScriptError(f"the trial of {name} is {found or 'not there'} after {within_s:.0f} s")


async def running(stage: Stage, name: str = "bad") -> Json:
    """Until both revisions serve on trial."""
    return await until_trial(stage, name, lambda trial: bool(trial["routed_at"]))


async def decided(stage: Stage, name: str = "bad") -> Json:
    """Until the trial has its verdict, which is told."""
    trial = await until_trial(stage, name, lambda trial: bool(trial["verdict"]))
    stage.say(str(trial["reason"]))
    return trial


def errors(share: float, status: int, after_s: float = 0.0) -> Json:
    """Users' requests fail while probes stay green."""
    return {"kind": "status", "status": status, "share": share, "users_only": True, "after_s": after_s}
