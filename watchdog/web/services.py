"""What the web needs from outside, in one value, and where handlers find it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from watchdog import ports
from watchdog.core.model import ServiceKey
from watchdog.core.paging import Silence
from watchdog.telemetry import Metrics

Identify = Callable[[str], Awaitable[str]]
"""The verified email of the account that a Google ID token is for. Raises a `WatchdogError` for every token that proves
nothing, and when that can't be known now."""


async def no_silences(_key: ServiceKey) -> Sequence[Silence]:
    """Nothing is silenced."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebServices:
    """Everything a handler may use."""

    store: ports.Store
    clock: ports.Clock
    metrics: Metrics
    services: Sequence[ServiceKey]
    """The services of the loaded policies."""
    ready: Callable[[], tuple[bool, str]]
    """Whether the daemon can do its work, and one sentence why (not)."""
    why_not_deploy: Callable[[ServiceKey, str], Awaitable[str | None]]
    """One sentence why an image must not be deployed (it is known-bad there), None when it may be. Reads only."""
    why_not_release: Callable[[ServiceKey], Awaitable[str | None]]
    """One sentence why traffic cannot be released now, None when it can. Reads only."""
    version: str
    new_id: Callable[[], str]
    """Makes a short, unique, URL-safe watch id."""
    heartbeat_jobs: Callable[[ServiceKey], frozenset[str]] = field(default=lambda _key: frozenset())
    """The jobs of the service's policy that ping."""
    api_token: str | None = field(default=None, repr=False)
    """What unsafe verbs must bear; None or empty: only a Google identity may use them."""
    identify: Identify | None = None
    """Knows Google identities; None where none is configured."""
    pagerduty_secret: str | None = field(default=None, repr=False)
    """What PagerDuty signs its webhooks with; None refuses them."""
    slack_secret: str | None = field(default=None, repr=False)
    """What Slack signs its requests with; None refuses them."""

    silences: Callable[[ServiceKey], Awaitable[Sequence[Silence]]] = no_silences
    """What is silenced of a service now. Reads only."""
    slack_roles: Callable[[ServiceKey], Mapping[str, str]] = lambda _key: {}
    """Slack member → `responder` or `operator`, as the service's policy says now."""
    whisper: Callable[[str, str], Awaitable[None]] | None = None
    """Tells the person who clicked a button what came of it: the click's `response_url`, the text."""


SERVICES = web.AppKey("services", WebServices)
CLOSING = web.AppKey("closing", asyncio.Event)
"""Set when the server shuts down, so that open streams end."""


def services_of(request: web.Request) -> WebServices:
    """The services of the app that serves this request."""
    return request.app[SERVICES]
