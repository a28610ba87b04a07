"""Makes the revision that `core.redeploy` asks for, once, and waits until it can serve."""

import structlog

from watchdog.core import redeploy, traffic
from watchdog.core.model import ServiceState
from watchdog.core.state import Watch
from watchdog.engine.tools import Tools

READY_S = 300.0
"""A start takes no longer: Cloud Run itself gives up after 240 s."""
LOOK_S = 2.0

_log = structlog.get_logger(__name__)


async def ready(tools: Tools, watch: Watch, state: ServiceState) -> tuple[str, str]:
    """How it ended, as `events.Written.result` has it (`redeployed`, `failed`, `superseded` or `overridden`), and why.

    Makes the revision unless it is there already, by compare and swap with `state`; every other error of the Admin API
    is raised, and the next try finds what this one has made.
    """
    key, name = watch.deploy.service, redeploy.name_of(watch)
    made = any(r.name == name for r in await tools.traffic.revisions(key))
    if not made:
        if (moved := traffic.who_moved(state, (), watch.revision)) is not None:
            return moved.result, moved.reason
        _log.info("redeploying", watch=watch.id, revision=name, image=redeploy.image_of(watch))
        await tools.traffic.redeploy(key, watch.snapshot, name=name, resource_version=state.resource_version)
    give_up = tools.clock.monotonic() + READY_S
    while True:
        state, revisions = await tools.traffic.read(key), await tools.traffic.revisions(key)
        found = next((r for r in revisions if r.name == name), None)
        if (moved := traffic.who_moved(state, revisions, watch.revision)) is not None:
            return moved.result, moved.reason
        if found is not None and found.ready:
            return "redeployed", "it was there already" if made else ""
        settled = state.ready is False and state.latest_created == name
        if settled or tools.clock.monotonic() >= give_up:
            why = (found.reason if found is not None else "") or state.ready_message or "it is not Ready"
            return "failed", f"{name}, made from the image of {watch.target.revision}, cannot serve: {why}"
        await tools.clock.sleep(LOOK_S)
