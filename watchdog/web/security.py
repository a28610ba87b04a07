"""Who may do what, and what a browser may do with our pages.

Reading is open to whoever reaches the port; every other method needs the bearer token, or a Google identity that the
environment names. Hooks bring proofs of their own: Pub/Sub such an identity, PagerDuty and Slack a signature of the
body. No cookies are used, so no other site can make a browser act here.
"""

import hmac
from typing import Final

from aiohttp import web

from watchdog.errors import WatchdogError
from watchdog.web.problems import Handler, Problem
from watchdog.web.services import Identify, services_of

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
HOOKS: Final = "/hooks/"
"""Below this, each handler asks for its caller's own kind of proof."""

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

_ACTOR = web.RequestKey("actor", str)


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Put the security headers on every response, streams and errors included (an `on_response_prepare` signal)."""
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.popall("Server", None)  # no version for whoever scans


@web.middleware
async def token_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse unsafe methods without a token, before the body is read."""
    if request.method not in SAFE_METHODS and request.match_info.http_exception is None and not _is_hook(request):
        request[_ACTOR] = await _let_in(request)
    return await handler(request)


def actor(request: web.Request) -> str:
    """Who acts when the body does not say: the verified email, or `api` for whoever bears the API token."""
    return request.get(_ACTOR) or "api"


async def google_identity(request: web.Request) -> str:
    """The verified email of a caller who must be a Google identity. Raises `Problem` 401, whatever is missing."""
    identify = services_of(request).identify
    if identify is None:
        todo = "Set WATCHDOG_OIDC__AUDIENCE and WATCHDOG_OIDC__EMAILS and restart it."
        raise _refused(f"This watchdog knows no Google identity, so it takes no push. {todo}")
    token = _bearer(request)
    if token is None:
        raise _refused("Send the header Authorization: Bearer with a Google ID token.")
    return await _google(identify, token)


async def _let_in(request: web.Request) -> str:
    """The email of a Google identity, empty for the API token. Raises `Problem` 401."""
    services = services_of(request)
    if not services.api_token and services.identify is None:
        raise _refused("This watchdog has no API token, so it takes no orders. Set WATCHDOG_API_TOKEN and restart it.")
    token = _bearer(request)
    if token is None:
        also = ", or with a Google ID token" if services.identify is not None else ""
        raise _refused(f"Send the header Authorization: Bearer with the value of WATCHDOG_API_TOKEN{also}.")
    if services.api_token and same(token, services.api_token):
        return ""
    if services.identify is None or token.count(".") != 2:
        raise _refused("The token is wrong.", error=_INVALID)
    return await _google(services.identify, token)


async def _google(identify: Identify, token: str) -> str:
    try:
        return await identify(token)
    except WatchdogError as error:  # also when the proof can't be had just now: nobody is let in unproven
        raise _refused(f"{str(error).rstrip('.')}.", error=_INVALID) from None


def same(given: str, expected: str) -> bool:
    """Whether two secrets are equal, in a time that tells nothing of where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def unsigned(detail: str, header: str) -> Problem:
    """The answer to a hook whose signature proves nothing."""
    return Problem(401, detail, headers={"WWW-Authenticate": f'Signature realm="watchdog", header="{header}"'})


_INVALID: Final = 'error="invalid_token"'


def _bearer(request: web.Request) -> str | None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def _is_hook(request: web.Request) -> bool:
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical.startswith(HOOKS)


def _refused(detail: str, *, error: str = "") -> Problem:
    challenge = 'Bearer realm="watchdog"' + (f", {error}" if error else "")
    return Problem(401, detail, headers={"WWW-Authenticate": challenge})
