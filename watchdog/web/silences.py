"""Silences: what is not said about a service for a while, by whom and why."""

from typing import Any

from aiohttp import web

from watchdog.core.model import ServiceKey
from watchdog.core.paging import Silence
from watchdog.core.text import iso
from watchdog.web.bodies import SilenceOrder
from watchdog.web.inbox import body_of, post
from watchdog.web.lookup import service_of, service_stream
from watchdog.web.problems import Problem
from watchdog.web.security import actor
from watchdog.web.services import services_of


async def list_silences(request: web.Request) -> web.Response:
    """Every silence that counts now, of one service (`?service=`) or of all."""
    services = services_of(request)
    wanted = request.query.get("service")
    keys = [service_of(services, wanted)] if wanted else list(services.services)
    found = [shown(key, silence) for key in keys for silence in await services.silences(key)]
    return web.json_response({"silences": found})


async def silence(request: web.Request) -> web.Response:
    """Silence something, or end a silence before its time; 202 when it is in the inbox."""
    services = services_of(request)
    order = await body_of(request, SilenceOrder)
    key = service_of(services, order.service, region=order.region, project=order.project)
    by = order.by or actor(request)
    if order.end:
        known = {s.id for s in await services.silences(key)}
        if order.end not in known:
            raise Problem(
                404, f"There is no silence {order.end} of {key}; known: {', '.join(sorted(known)) or 'none'}."
            )
        if order.end.startswith("policy-"):
            raise Problem(412, f"The silence {order.end} stands in the policy file: take it out there.")
        letter: dict[str, Any] = {"end": True, "id": order.end, "by": by}
    else:
        letter = {**_begin(order, by), "until": services.clock.now() + (order.for_ or 0.0), "id": services.new_id()}
    posted = await post(request, service_stream(key), "silence", letter, own="id")
    detail = "In the inbox." if posted.new else "The same request is in the inbox already; it counts once."
    answer = {"accepted": True, "service": str(key), "id": letter["id"], "repeated": not posted.new, "detail": detail}
    return web.json_response(answer, status=202)


def _begin(order: SilenceOrder, by: str) -> dict[str, Any]:
    """What is silenced. Raises `Problem` 422 for a silence of everything, without an end or without a reason."""
    if not (order.criterion or order.kind or order.severity):
        raise Problem(
            422, "Say criterion, kind or severity: a silence of everything would hide what you do not expect."
        )
    if order.for_ is None:
        raise Problem(422, "for: is missing; a silence ends by itself: 30m, 2h.")
    if not order.reason:
        raise Problem(422, "reason: is missing; whoever finds the silence must know why.")
    return {
        "criterion": order.criterion,
        "kind": order.kind,
        "severity": order.severity,
        "by": by,
        "reason": order.reason,
    }


def shown(key: ServiceKey, silence: Silence) -> dict[str, Any]:
    """A silence as it is answered."""
    return {"service": str(key), **silence.model_dump(exclude={"until"}), "until": iso(silence.until)}
