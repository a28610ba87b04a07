"""What one probe sends: its address, its headers, and which of them no text of ours may ever repeat."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from watchdog.core.policy import ProbeConfig
from watchdog.core.variables import fill
from watchdog.errors import WatchdogError

PUBLIC_HEADERS = frozenset({"accept", "accept-encoding", "accept-language", "content-type", "host", "user-agent"})
"""Headers whose values may be shown. Every other value may be somebody's key."""
SCHEMES = frozenset({"basic", "bearer", "digest"})
SHORTEST_SECRET = 4
"""Shorter values ("1", "on") are no secrets, and hiding them would garble every text."""

IAP_CLIENT = ".apps.googleusercontent.com"
"""Ends the OAuth client for which Identity-Aware Proxy wants its tokens."""

REDACTED = "[redacted]"

_TAG = re.compile(r"^[a-z0-9-]+?---(?=.+\.run\.app$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRequest:
    """One GET request, ready but for its ID token."""

    url: URL
    headers: CIMultiDict[str]
    base_url: str
    """What the probe's ID token is for, when the policy names no audience."""
    secrets: tuple[str, ...]


class UnsetVariableError(WatchdogError):
    """A header uses a variable that the environment does not have."""


def build_request(
    probe: ProbeConfig, base_url: str, *, user_agent: str, variables: Mapping[str, str] | None = None
) -> ProbeRequest:
    """The request of `probe`: its own `url`, or its `path` below `base_url`; `variables` fill its headers.

    Raises `aiohttp.InvalidURL`, and `UnsetVariableError`.
    """
    address = probe.url or f"{base_url.rstrip('/')}/{(probe.path or '').lstrip('/')}"
    try:
        url = URL(address)
    except ValueError:
        raise aiohttp.InvalidURL("a probe's address") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise aiohttp.InvalidURL("a probe's address")
    try:
        filled = {name: fill(text, variables or {}) for name, text in probe.headers.items()}
    except KeyError as error:
        raise UnsetVariableError(f"WATCHDOG_PROBE__{error.args[0]} is not set") from None
    headers = CIMultiDict(filled)
    own = headers.get("User-Agent")
    headers["User-Agent"] = f"{user_agent} {own}" if own else user_agent
    return ProbeRequest(
        url=url, headers=headers, base_url=_base_of(probe, base_url, url), secrets=_secrets(filled, url)
    )


def audience_of(base_url: str) -> str:
    """The default audience: the service's own URL, without the tag of a tag URL.

    "The aud value must remain as the URL of the service, even when making requests to a specific traffic tag"
    (cloud.google.com/run/docs/authenticating/service-to-service). A tag URL is `https://TAG---SERVICE….run.app`.
    """
    url = URL(base_url)
    host = _TAG.sub("", url.raw_host or "")
    return str(url.with_host(host).origin()) if host else base_url


def token_header(audience: str | None, *, taken: bool) -> str:
    """Which header the ID token goes into; `taken` says that `Authorization` is the application's.

    Cloud Run then looks into `X-Serverless-Authorization`
    (cloud.google.com/run/docs/authenticating/service-to-service), Identity-Aware Proxy into `Proxy-Authorization`
    (cloud.google.com/iap/docs/authentication-howto).
    """
    if not taken:
        return "Authorization"
    return "Proxy-Authorization" if audience and audience.endswith(IAP_CLIENT) else "X-Serverless-Authorization"


def redact(text: str, secrets: Iterable[str]) -> str:
    """`text` without any secret, also where quoting escaped it or shortening (`…`) cut it off."""
    for secret in sorted(secrets, key=len, reverse=True):
        for spelling in {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}:
            text = text.replace(spelling, REDACTED)
            for length in range(len(spelling) - 1, SHORTEST_SECRET - 1, -1):
                text = text.replace(f"{spelling[:length]}…", f"{REDACTED}…")
    return text


def _base_of(probe: ProbeConfig, base_url: str, url: URL) -> str:
    return str(url.origin()) if probe.url else base_url


def _secrets(headers: Mapping[str, str], url: URL) -> tuple[str, ...]:
    values = [value for name, value in headers.items() if name.lower() not in PUBLIC_HEADERS]
    values += [part for value in values for part in value.split()]  # the token alone of `Bearer TOKEN`
    values += [text for text in (url.password, url.raw_query_string) if text]
    return tuple(value for value in values if len(value) >= SHORTEST_SECRET and value.lower() not in SCHEMES)
