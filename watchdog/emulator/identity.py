"""Who may come in: tokens of the metadata server, the invokers of a private service, Identity-Aware Proxy.

Tokens are JSON web tokens in form only: nobody signs them, since only the emulator reads them. What is answered to
those who may not come in is what users of the real thing published: Cloud Run's page for 401 and 403, IAP's header and
its redirect to a login.
"""

import base64
import json
from collections.abc import Collection

from aiohttp import web

from watchdog.emulator import clock
from watchdog.emulator.world import Json, ServiceKey

EMAIL = "watchdog@barq-fleet.iam.gserviceaccount.com"
"""Whom the metadata server's tokens name."""
TOKEN_S = 3600.0
LOGIN = "https://accounts.google.com/o/oauth2/v2/auth?client_id="
FLAVOR = {"Metadata-Flavor": "Google"}
ACCOUNT = "/computeMetadata/v1/instance/service-accounts/{account}"

_PAGE = (
    "<html><head>\n<title>{status} {words}</title>\n</head>\n<body text=#000000 bgcolor=#ffffff>\n"
    "<h1>Error: {words}</h1>\n<h2>Your client does not have permission to get URL from this server.</h2>\n"
    "</body></html>"
)


def make_token(audience: str, *, email: str = EMAIL) -> str:
    """An ID token for `audience`, good for an hour."""
    now = int(clock.now())
    body = {
        "aud": audience,
        "email": email,
        "email_verified": True,
        "exp": now + int(TOKEN_S),
        "iat": now,
        "iss": "https://accounts.google.com",
    }
    parts = (json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, body))
    return ".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts), "emulated"])


def claims_of(header: str) -> Json:
    """What the token of an `Authorization` header says; nothing when there is none, or it has expired."""
    scheme, _, token = header.partition(" ")
    parts = token.split(".")
    if scheme.lower() != "bearer" or len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("exp", 0) > clock.now() else {}


class Invokers:
    """Which services are private, and who may call them. `X-Serverless-Authorization` is looked into first."""

    def __init__(self) -> None:
        self._private: dict[ServiceKey, frozenset[str]] = {}

    def let_in(self, key: ServiceKey, emails: Collection[str] | None) -> None:
        """Only these may call the service; None for everybody."""
        if emails is None:
            self._private.pop(key, None)
        else:
            self._private[key] = frozenset(emails)

    def clear(self) -> None:
        """Every service is public."""
        self._private.clear()

    def refusal(self, request: web.BaseRequest, key: ServiceKey, audiences: Collection[str]) -> web.Response | None:
        """Cloud Run's answer to one who may not call; None for one who may."""
        allowed = self._private.get(key)
        if allowed is None:
            return None
        header = request.headers.get("X-Serverless-Authorization", "") or request.headers.get("Authorization", "")
        claims = claims_of(header)
        if claims.get("aud") in audiences and claims.get("email") in allowed:
            return None
        status, words = (401, "Unauthorized") if header and claims.get("aud") not in audiences else (403, "Forbidden")
        page = _PAGE.format(status=status, words=words)
        return web.Response(status=status, text=page, content_type="text/html", headers={"Server": "Google Frontend"})


def iap_refusal(request: web.BaseRequest, audience: str, *, allowed: bool) -> web.Response | None:
    """Identity-Aware Proxy's answer to one who may not pass; None for one who may."""
    marked = {"X-Goog-IAP-Generated-Response": "true"}
    header = request.headers.get("Proxy-Authorization", "") or request.headers.get("Authorization", "")
    if not header:
        return web.Response(status=302, headers={**marked, "Location": f"{LOGIN}{audience}"})
    if claims_of(header).get("aud") != audience:
        return web.Response(status=401, text="Invalid IAP credentials: JWT audience doesn't match", headers=marked)
    if not allowed:
        page = "<html><head><title>You don't have access</title></head></html>"
        return web.Response(status=403, text=page, content_type="text/html", headers=marked)
    return None


def add_metadata_routes(app: web.Application) -> None:
    """The metadata server of the machine that the watchdog runs on, as far as ID tokens need it."""

    async def alive(_request: web.Request) -> web.Response:
        return web.Response(text="computeMetadata/\n", headers=FLAVOR)

    async def account(_request: web.Request) -> web.Response:
        about = {"aliases": ["default"], "email": EMAIL, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}
        return web.json_response(about, headers=FLAVOR)

    async def identity(request: web.Request) -> web.Response:
        return web.Response(text=make_token(request.query.get("audience", "")), headers=FLAVOR)

    app.router.add_get("/", alive)
    app.router.add_get("/computeMetadata/v1/", alive)
    app.router.add_get(f"{ACCOUNT}/", account)
    app.router.add_get(f"{ACCOUNT}/identity", identity)


def metadata_environment(address: str) -> dict[str, str]:
    """What makes Google's client libraries ask this metadata server; `address` is `host:port`."""
    return {"GCE_METADATA_HOST": address, "GCE_METADATA_IP": address}
