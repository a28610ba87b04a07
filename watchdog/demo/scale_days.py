"""What the drills of scaling up share: their policy, and how far an attempt has come."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from watchdog.demo.drill import Cloud
from watchdog.demo.stage import Json, OffScriptError, Stage

POLICY: Final[Mapping[str, Any]] = {
    "alert_thresholds": [
        {"metric": "cpu_usage", "warning": "> 75%", "critical": "> 90%", "action": "scale_up"},
    ],
    "scale_up": {"max_instances": 20, "step": "100%", "measure_after": "45s"},
}
LOOK_S: Final = 1.0
BUSY: Final = Cloud(load_per_s=2.0)
"""Instances are there only while somebody asks for them."""


async def until_scaling(stage: Stage, name: str, holds: Callable[[Json], bool], *, within_s: float = 240.0) -> Json:
    """Until the last attempt of a revision's watch is as asked for; its part of the read model."""
    give_up = stage.now() + within_s
    found: Json = {}
    while stage.now() < give_up:
        view = await stage.watch(name)
        attempts = (view or {}).get("scalings") or []
        found = dict(attempts[-1]) if attempts else {}
        if found and holds(found):
            return found
        await stage.pass_time(LOOK_S)
    raise OffScriptError(f"the scaling of {name} is {found or 'not there'} after {within_s:.0f} s")


async def ended(stage: Stage, name: str, *states: str) -> Json:
    """Until the attempt is over, which is told."""
    attempt = await until_scaling(stage, name, lambda found: bool(found["ended_at"]))
    stage.say(str(attempt["reason"]))
    stage.require(f"the attempt ended {attempt['state']}, expected {' or '.join(states)}", attempt["state"] in states)
    return attempt
