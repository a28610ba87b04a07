"""The reading half of the API, and what machines poll: metrics, liveness, readiness."""

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web
from prometheus_client import exposition

from watchdog.core.conditions import parse_share
from watchdog.core.history import as_csv, as_markdown, deploy
from watchdog.core.model import ServiceKey, State
from watchdog.core.promotion import DETECT, may_promote
from watchdog.core.report_text import markdown, seconds_of
from watchdog.web.explaining import for_report
from watchdog.web.lookup import event, events_of, key_of, number, service_of, summary, watch_of, watch_stream
from watchdog.web.openapi import document
from watchdog.web.problems import Problem
from watchdog.web.services import WebServices, services_of

_PAGE: Final = 1000
_MOST: Final = 2**53


async def list_watches(request: web.Request) -> web.Response:
    """Newest first; `?open=true`, `?service=`, `?limit=`."""
    services = services_of(request)
    only_open = request.query.get("open", "").lower() in ("1", "true", "yes")
    rows = await services.store.watches(open_only=only_open, limit=number(request, "limit", 200, most=_PAGE))
    service = request.query.get("service")
    return web.json_response(
        {"watches": [summary(row) for row in rows if service is None or key_of(row).matches(service)]}
    )


async def history(request: web.Request) -> web.Response:
    """The deployment history, newest first: `?service=`, `?limit=`, `?format=json|markdown|csv`."""
    services = services_of(request)
    rows = await services.store.watches(limit=_PAGE)
    service, limit = request.query.get("service"), number(request, "limit", 200, most=_PAGE)
    deploys = [deploy(row.view) for row in rows if service is None or key_of(row).matches(service)][:limit]
    form = request.query.get("format", "json")
    if form == "csv":
        return web.Response(text=as_csv(deploys), content_type="text/csv", charset="utf-8")
    if form == "markdown":
        return web.Response(text=as_markdown(deploys), content_type="text/markdown", charset="utf-8")
    if form != "json":
        raise Problem(422, f"format {form!r} is none of json, markdown, csv")
    return web.json_response({"deploys": deploys})


async def show_watch(request: web.Request) -> web.Response:
    """A watch with all its evidence."""
    return web.json_response((await watch_of(request)).view)


async def list_events(request: web.Request) -> web.Response:
    """The journal from after `?after=`, at most `?limit=` rows; a Link header leads on while there are more."""
    services = services_of(request)
    row = await watch_of(request)
    after = number(request, "after", 0, most=_MOST)
    limit = max(1, number(request, "limit", _PAGE, most=_PAGE))
    events: list[Mapping[str, Any]] = []
    more = False
    async for record in services.store.read(watch_stream(row.id), after_seq=after):
        if len(events) == limit:
            more = True
            break
        events.append(event(record))
    response = web.json_response(events)
    if more:
        following = f"/api/v1/watches/{row.id}/events?after={events[-1]['seq']}&limit={limit}"
        response.headers["Link"] = f'<{following}>; rel="next"'
    return response


async def report(request: web.Request) -> web.Response:
    """The report as Markdown, or what it is written from as JSON (`?format=json`)."""
    wanted = request.query.get("format", "markdown")
    if wanted not in ("json", "markdown"):
        raise Problem(422, f"format must be markdown or json, not {wanted[:40]!r}.")
    row = await watch_of(request)
    events = await events_of(services_of(request), row.id)
    if wanted == "json":
        return web.json_response({"watch": row.view, "events": events})
    # A browser would offer Markdown as a download; somebody who follows a link wants to read it.
    readable = "text/html" in request.headers.get("Accept", "")
    content_type = "text/plain" if readable else "text/markdown"
    text = markdown(row.view, events, await for_report(request, row.id))
    return web.Response(text=text, content_type=content_type, charset="utf-8")


async def gate(request: web.Request) -> web.Response:
    """May this image be deployed to this service, may its rollout take the next step?"""
    services = services_of(request)
    query = {name: request.query.get(name, "").strip() for name in ("service", "region", "project", "image", "detect")}
    promote = request.query.get("promote", "").lower() in ("1", "true", "yes")
    absent = [] if query["service"] else ["service"]
    absent += [] if query["image"] or promote else ["image (or promote=true)"]
    if absent:
        raise Problem(422, f"Say {' and '.join(absent)} in the query: ?service=NAME&region=REGION&image=REFERENCE.")
    key = service_of(services, query["service"], region=query["region"], project=query["project"])
    reason, answer = "", dict[str, Any]()
    if query["image"]:
        refusal = await services.why_not_deploy(key, query["image"])
        reason = refusal or f"Nothing bad is known of this image on {key.name} in {key.region}."
        if refusal or not promote:
            return web.json_response({"allowed": refusal is None, "reason": reason})
    allowed, why, answer = await _next_step(services, key, _share(query["detect"]))
    return web.json_response({"allowed": allowed, "reason": f"{reason} {why}".strip(), **answer})


async def _next_step(services: WebServices, key: ServiceKey, detect: float) -> tuple[bool, str, dict[str, Any]]:
    """Whether the service's newest rollout has enough evidence, why, and that evidence."""
    rows = [row for row in await services.store.watches(limit=_PAGE) if key_of(row) == key]
    row = next((r for r in rows if r.state != State.ENDED), rows[0] if rows else None)
    if row is None:
        return False, f"No deploy of {key.name} in {key.region} has been watched, so nothing is known of it.", {}
    evaluated_at = seconds_of(row.view.get("last_evaluation_at")) or row.opened_at
    allowed, why = may_promote(row.view, age_s=services.clock.now() - evaluated_at, detect=detect)
    return allowed, why, {"watch": row.id, "revision": row.revision, "evidence": row.view.get("promotion")}


def _share(text: str) -> float:
    try:
        found = parse_share(text) if text else DETECT
    except ValueError as error:
        raise Problem(422, f"detect: {error}.") from None
    if found <= 0.0:
        raise Problem(422, "detect: write a share above 0%, for example 10%.")
    return found


async def openapi(_request: web.Request) -> web.Response:
    """This API, described for machines."""
    return web.json_response(document())


async def metrics(request: web.Request) -> web.Response:
    """The registry as it is: a scrape does no work."""
    encode, content_type = exposition.choose_encoder(request.headers.get("Accept", ""))
    return web.Response(body=encode(services_of(request).metrics.registry), headers={"Content-Type": content_type})


async def livez(request: web.Request) -> web.Response:
    """The event loop turns."""
    return web.json_response({"status": "alive", "version": services_of(request).version})


async def readyz(request: web.Request) -> web.Response:
    """The daemon can do its work, or why not."""
    ready, reason = services_of(request).ready()
    if not ready:
        raise Problem(503, reason, headers={"Retry-After": "5"})
    return web.json_response({"status": "ready", "reason": reason})
