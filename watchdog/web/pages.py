"""The pages: rendered here, whole without a script, kept fresh by a small one. Read-only: acting needs the token."""

from aiohttp import web

from watchdog.core.text import iso
from watchdog.web.lookup import key_of, watch_of
from watchdog.web.problems import Problem
from watchdog.web.render import assets, render
from watchdog.web.services import services_of
from watchdog.web.show import index_row, watch_page

_LISTED = 50
_WORST = {"bad": 0, "warn": 1, "good": 2, "info": 2, "off": 3}


async def index(request: web.Request) -> web.Response:
    """All open watches, the quiet services, and the deployment history."""
    services = services_of(request)
    now = services.clock.now()
    rows = await services.store.watches(limit=_LISTED)
    wide = await services.store.watches(open_only=True, limit=1000)
    open_rows = sorted((index_row(r.view, now) for r in wide), key=lambda r: _WORST.get(r["look"].tone, 3))
    ended = [index_row(r.view, now) for r in rows if r.ended_at is not None]
    busy = {key_of(r) for r in wide}
    ready, why = services.ready()
    worst = open_rows[0]["look"] if open_rows else None
    count = f"{len(open_rows)} open" if open_rows else "quiet"
    page = render(
        "index.html",
        tone=worst.tone if worst else "off",
        page_title=f"{worst.glyph} {count} · Watchdog" if worst else "Watchdog: quiet",
        open=open_rows,
        ended=ended,
        quiet=[key for key in services.services if key not in busy],
        ready=ready,
        why=why,
        version=services.version,
        now=iso(now),
    )
    return web.Response(text=page, content_type="text/html")


async def watch(request: web.Request) -> web.Response:
    """One watch with all its evidence."""
    services = services_of(request)
    row = await watch_of(request)
    now = services.clock.now()
    page = render("watch.html", **watch_page(row.view, now), version=services.version, now=iso(now))
    return web.Response(text=page, content_type="text/html")


async def asset(request: web.Request) -> web.Response:
    """A style sheet, script or icon. Their URLs change with their bytes, so they may be kept."""
    found = assets().get(request.match_info["name"])
    if found is None:
        raise Problem(404, f"There is no asset {request.match_info['name']}.")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return web.Response(body=found.body, content_type=found.content_type, charset="utf-8", headers=headers)
