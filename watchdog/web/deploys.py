"""Notices about services: a deploy has happened, traffic may follow new revisions again."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from watchdog.core.model import ServiceKey
from watchdog.ports import WatchRow
from watchdog.web.bodies import DeployNotice, ReleaseOrder
from watchdog.web.inbox import body_of, post
from watchdog.web.lookup import key_of, known, service_of, service_stream
from watchdog.web.problems import Problem
from watchdog.web.security import actor
from watchdog.web.services import WebServices, services_of

WAIT_S: Final = 3.0
"""How long a notice waits for its watch: the owner folds letters in within 0.5 s."""
_LOOK_S: Final = 0.05
_SETTLE_S: Final = 0.3
"""The letter may be marked as folded in just before the watch can be read."""


async def announce(request: web.Request) -> web.Response:
    """A deploy notice: 201 with the new watch, 200 with the one that is open already, 202 while neither is seen.

    The letter is posted in every case, since it may say what discovery could not see (`rollback_safe`, `previous`).
    """
    services = services_of(request)
    notice = await body_of(request, DeployNotice)
    key = ServiceKey(project=notice.project, region=notice.region, name=notice.service)
    if key not in services.services:
        raise Problem(422, f"No loaded policy is for {key}. Known: {known(services)}.")
    before = await _open_watches(services, key)
    watch_id = services.new_id()
    body = {**notice.model_dump(exclude_none=True), "watch_id": watch_id}
    if notice.previous is not None:
        body["previous"] = {revision: percent for revision, percent in notice.previous.items() if percent}
    posted = await post(request, service_stream(key), "deploy", body, own="watch_id")
    row = _of_revision(before, notice.revision) if notice.revision else None
    if not posted.new:
        first = await _first_id(services, key, posted.key)
        watch_id = first or watch_id
        if first is None and row is None:  # folded in already: it led to the newest watch, open or not
            row = _of_revision([r for r in await services.store.watches() if key_of(r) == key], notice.revision)
    if row is None:
        row = await _appear(services, key, watch_id, notice.revision)
    if row is None:
        detail = f"The notice is in the inbox, but no watch has opened within {WAIT_S:g} s. Is the daemon running?"
        return web.json_response({"id": watch_id, "state": "pending", "detail": detail}, status=202)
    new = posted.new and all(row.id != old.id for old in before)
    location = {"Location": f"/api/v1/watches/{row.id}"}
    return web.json_response(row.view, status=201 if new else 200, headers=location)


async def _appear(services: WebServices, key: ServiceKey, watch_id: str, revision: str | None) -> WatchRow | None:
    """Wait until the notice's watch can be read, or until its letter was folded into the watch that is open."""
    clock = services.clock
    deadline = clock.monotonic() + WAIT_S
    folded_at: float | None = None
    while True:
        mine = await services.store.watch(watch_id)
        if mine is not None:
            return mine
        rows = await _open_watches(services, key)
        if revision and (same := _of_revision(rows, revision)):
            return same
        letters = await services.store.letters([service_stream(key)])
        waiting = any(letter.body.get("watch_id") == watch_id for letter in letters)
        now = clock.monotonic()
        folded_at = None if waiting else folded_at or now
        if folded_at is not None and now - folded_at >= _SETTLE_S and (found := _of_revision(rows, revision)):
            return found
        if now >= deadline:
            return None
        await clock.sleep(_LOOK_S)


async def _open_watches(services: WebServices, key: ServiceKey) -> Sequence[WatchRow]:
    """The service's open watches: one, or for a moment two."""
    return [row for row in await services.store.watches(open_only=True, limit=1000) if key_of(row) == key]


def _of_revision(rows: Sequence[WatchRow], revision: str | None) -> WatchRow | None:
    return next((row for row in rows if revision in (None, row.revision)), None)


async def _first_id(services: WebServices, key: ServiceKey, letter: str) -> str | None:
    """The watch id that the first posting of this letter chose, while it still waits."""
    waiting = await services.store.letters([service_stream(key)])
    return next((str(x.body["watch_id"]) for x in waiting if x.key == letter), None)


async def heartbeat(request: web.Request) -> web.Response:
    """A job says that it has run; 404 for one that no policy of the service knows would hide a misspelt name."""
    services = services_of(request)
    key, job = service_of(services, request.match_info["name"]), request.match_info["job"]
    known = services.heartbeat_jobs(key)
    if job not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise Problem(404, f"{key} has no job {job} that pings; its policy names: {listed}.")
    new = (await post(request, service_stream(key), "heartbeat", {"job": job})).new
    answer = {"accepted": True, "service": str(key), "job": job, "repeated": not new}
    return web.json_response(answer, status=202)


async def release(request: web.Request) -> web.Response:
    """Let traffic follow new revisions again; 412 while that would send users back to a bad one."""
    services = services_of(request)
    order = await body_of(request, ReleaseOrder)
    key = service_of(services, request.match_info["name"])
    refusal = None if order.on_next else await services.why_not_release(key)
    if refusal:
        raise Problem(412, refusal)
    letter = {"on_next": order.on_next, "by": order.by or actor(request), "reason": order.reason}
    new = (await post(request, service_stream(key), "release", letter)).new
    detail = "In the inbox." if new else "The same request is in the inbox already; it counts once."
    return web.json_response({"accepted": True, "service": str(key), "repeated": not new, "detail": detail}, status=202)
