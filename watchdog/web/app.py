"""Puts the routes together."""

import asyncio
from typing import Final

from aiohttp import web

from watchdog.web import deploys, explaining, hooks, pages, reads, silences, stream, verbs
from watchdog.web.problems import problem_middleware
from watchdog.web.security import add_headers, token_middleware
from watchdog.web.services import CLOSING, SERVICES, WebServices

BODY_BYTES: Final = 64 * 1024


def make_app(services: WebServices) -> web.Application:
    """The application, ready for a runner. It opens and closes nothing that it was given."""
    app = web.Application(middlewares=[problem_middleware, token_middleware], client_max_size=BODY_BYTES)
    app[SERVICES] = services
    app[CLOSING] = asyncio.Event()
    app[explaining.EXPLAINING] = explaining.Explaining()
    stream.prepare(app)
    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(_end_streams)
    app.on_cleanup.append(_end_explanations)
    app.add_routes(_routes())
    return app


def _routes() -> list[web.RouteDef]:
    watch = "/api/v1/watches/{id}"
    return [
        web.get("/", pages.index),
        web.get("/watches/{id}", pages.watch),
        web.get("/assets/{name}", pages.asset),
        web.get("/metrics", reads.metrics),
        web.get("/livez", reads.livez),
        web.get("/readyz", reads.readyz),
        web.get("/api/openapi.json", reads.openapi),
        web.get("/api/v1/watches", reads.list_watches),
        web.get("/api/v1/history", reads.history),
        web.get(watch, reads.show_watch),
        web.get(f"{watch}/events", reads.list_events),
        web.get(f"{watch}/report", reads.report),
        web.get(f"{watch}/explain", explaining.explain),
        web.get(f"{watch}/stream", stream.stream, allow_head=False),
        web.get("/api/v1/gate", reads.gate),
        web.get("/api/v1/silences", silences.list_silences),
        web.post("/api/v1/silences", silences.silence),
        web.post("/api/v1/deploys", deploys.announce),
        web.post("/api/v1/services/{name}/release", deploys.release),
        web.post("/api/v1/services/{name}/heartbeats/{job}", deploys.heartbeat),
        web.post(f"{watch}/signals", verbs.signal),
        web.post(f"{watch}/mark", verbs.mark),
        *(web.post(f"{watch}/{path}", verbs.operator(path)) for path in verbs.VERBS),
        web.post("/hooks/pubsub", hooks.pubsub),
        web.post("/hooks/pagerduty", hooks.pagerduty),
        web.post("/hooks/slack", hooks.slack),
    ]


async def _end_streams(app: web.Application) -> None:
    app[CLOSING].set()


async def _end_explanations(app: web.Application) -> None:
    await app[explaining.EXPLAINING].close()
