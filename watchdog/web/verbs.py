"""The acting half of the API for a watch: each verb becomes a letter to the watch's owner."""

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from watchdog.core.marks import why_not
from watchdog.core.model import State
from watchdog.ports import WatchRow
from watchdog.web.bodies import Extension, MarkOrder, Order, RollbackOrder, Signal, SignOff
from watchdog.web.inbox import body_of, post
from watchdog.web.lookup import key_of, known, service_stream, watch_of, watch_stream
from watchdog.web.problems import Handler, Problem
from watchdog.web.security import actor
from watchdog.web.services import services_of

_MOVED: Final = frozenset({"writing", "settling", "verifying", "done"})

VERBS: Final[Mapping[str, type[Order | RollbackOrder]]] = {
    "rollback": RollbackOrder,
    "ack": Order,
    "resolve": Order,
    "hold": Order,
    "pause": Order,
    "resume": Order,
    "extend": Extension,
    "finish": Order,
    "signoffs": SignOff,
}
"""The last part of the path → the body it takes."""


async def signal(request: web.Request) -> web.Response:
    """A statement from outside about the deploy."""
    body = await body_of(request, Signal)
    row = await watch_of(request)
    _refuse_ended(row, "signal")
    letter = {"signal": body.signal, "reason": body.reason, "by": body.by or actor(request)}
    return await _accept(request, row, "signal", letter)


def operator(path: str) -> Handler:
    """The handler of one of `VERBS`."""
    model = VERBS[path]
    verb = "signoff" if path == "signoffs" else path

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await body_of(request, model)
        row = await watch_of(request)
        refuse_impossible(row, verb)
        letter: dict[str, Any] = {"verb": verb, "by": body.by or actor(request), "reason": body.reason}
        if isinstance(body, Extension):
            letter["for_s"] = body.for_
        if isinstance(body, SignOff):
            letter["name"] = body.name
        return await _accept(request, row, "operator", letter)

    return handle


async def mark(request: web.Request) -> web.Response:
    """A person says whether an ended watch was right: a letter to whoever keeps the service, since nobody writes the
    watch's own stream any more."""
    body = await body_of(request, MarkOrder)
    row = await watch_of(request, ended=True)
    refused = why_not(row.view, body.mark)
    if refused is not None:
        raise Problem(412, refused)
    key = key_of(row)
    services = services_of(request)
    if key not in services.services:
        raise Problem(409, f"No loaded policy is for {key}, so nobody keeps its journal. Known: {known(services)}.")
    letter = {"watch": row.id, "mark": body.mark, "by": body.by or actor(request), "reason": body.reason}
    new = (await post(request, service_stream(key), "mark", letter)).new
    detail = "In the inbox." if new else "The same request is in the inbox already; it counts once."
    answer = {"accepted": True, "watch": row.id, "repeated": not new, "detail": detail}
    return web.json_response(answer, status=202, headers={"Location": f"/api/v1/watches/{row.id}"})


async def _accept(request: web.Request, row: WatchRow, kind: str, letter: Mapping[str, Any]) -> web.Response:
    new = (await post(request, watch_stream(row.id), kind, letter)).new
    detail = "In the inbox." if new else "The same request is in the inbox already; it counts once."
    answer = {"accepted": True, "watch": row.id, "repeated": not new, "detail": detail}
    return web.json_response(answer, status=202, headers={"Location": f"/api/v1/watches/{row.id}"})


def _refuse_ended(row: WatchRow, verb: str) -> None:
    if row.state == State.ENDED:
        raise Problem(412, f"Watch {row.id} has ended ({row.outcome}), so {verb} can no longer have an effect.")


def refuse_impossible(row: WatchRow, verb: str) -> None:
    """Refuse what can never come true, from the read model. What is decided in this second is left to the owner."""
    _refuse_ended(row, verb)
    rollback = row.view.get("rollback") or {}
    if verb == "rollback" and rollback.get("state") in _MOVED:
        state = "done" if rollback["state"] == "done" else "under way"
        raise Problem(412, f"The rollback of watch {row.id} is {state}: there is one a deploy.")
