"""Who may do what, and what a browser may do with our pages.

Reading is open to whoever reaches the port; every other method needs the bearer token. No cookies are used, so no other
site can make a browser act here.
"""

import hmac
from typing import Final

from aiohttp import web

from watchdog.web.problems import Handler, Problem
from watchdog.web.services import services_of

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Put the security headers on every response, streams and errors included (an `on_response_prepare` signal)."""
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.popall("Server", None)  # no version for whoever scans


@web.middleware
async def token_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse unsafe methods without the token, before the body is read."""
    if request.method not in SAFE_METHODS and request.match_info.http_exception is None:
        _check(request.headers.get("Authorization", ""), services_of(request).api_token)
    return await handler(request)


def _check(authorization: str, token: str | None) -> None:
    if not token:
        raise _refused("This watchdog has no API token, so it takes no orders. Set WATCHDOG_API_TOKEN and restart it.")
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise _refused("Send the header Authorization: Bearer with the value of WATCHDOG_API_TOKEN.")
    if not hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode()):
        raise _refused("The token is wrong.", error='error="invalid_token"')


def _refused(detail: str, *, error: str = "") -> Problem:
    challenge = 'Bearer realm="watchdog"' + (f", {error}" if error else "")
    return Problem(401, detail, headers={"WWW-Authenticate": challenge})
