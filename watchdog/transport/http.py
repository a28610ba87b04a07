"""Requests: one shared session, and one way to turn a bad answer into our errors."""

import ipaddress
import json as jsonlib
import re
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from watchdog import __version__
from watchdog.errors import ConflictError, PermanentError, TemporaryError, WatchdogError

USER_AGENT = f"deploy-watchdog/{__version__}"
"""Also how the request log tells our own probes from the users' requests."""

_ANSWER_BYTES = 32 * 1024 * 1024
"""1000 revisions are about 8 MB; anything beyond this is not an answer to our question."""
_RETRY_AFTER_MAX_S = 3600.0
_TEMPORARY = frozenset({408, 425, 429})
_PERMANENT_5XX = frozenset({501, 505})
_SECRET_SHAPES = re.compile(
    r"(?i:\b(?:bearer|basic)\s+)[\w.~+/=-]+|\bxox[a-z]-[\w-]+|\bya29\.[\w.-]+|hooks\.slack\.com/\S+|(?<=://)[^/\s@]+(?=@)"
)


# --- the session --------------------------------------------------------------------------------------------------


def open_session(*, connections: int = 100, connections_per_host: int = 20) -> aiohttp.ClientSession:
    """The daemon's one HTTP session; close it at the end. Needs a running loop.

    Each call sets its own time limit; the one here only catches a caller who forgot. Cookies are not kept: nobody we
    talk to needs them.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, limit_per_host=connections_per_host, ttl_dns_cache=60),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT},
        timeout=aiohttp.ClientTimeout(total=30, connect=10),
    )


def environment_proxy(url: str) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name for this URL; never one for our own machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:  # whoever opens it says so better
        return None
    try:
        own = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = False
    if own or urllib.request.proxy_bypass(host):
        return None
    proxy = urllib.request.getproxies().get(parts.scheme)
    return proxy if proxy and proxy.startswith(("http://", "https://")) else None


# --- requests -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Somebody we talk to: what sentences call them, what no sentence may hold, how long they may take."""

    name: str
    timeout_s: float = 5.0
    secrets: tuple[str, ...] = ()
    hints: Mapping[int, str] = field(default_factory=dict)
    """What to do about a status, said after the error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer of any status. `body` is its JSON, or None when it is something else."""

    status: int
    text: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


async def request(  # noqa: PLR0913 - a request has this many parts, all named
    session: aiohttp.ClientSession,
    peer: Peer,
    method: str,
    url: str,
    *,
    doing: str,
    json: Any = None,
    data: bytes | None = None,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request and read its whole answer, whatever its status; redirects are not followed.

    `doing` begins every error's sentence: `Reading service api`. Raises TemporaryError when no answer came (connection,
    time limit) and PermanentError for an unusable URL. A write is sent once; a GET whose kept-alive connection turns
    out to be closed is sent a second time.
    """
    try:
        async with session.request(
            method,
            url,
            json=json,
            data=data,
            params=params,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=peer.timeout_s),
            allow_redirects=False,
            proxy=environment_proxy(url),
            middlewares=() if method == "GET" else (_send_once,),
        ) as response:
            raw = await _read(response.content, f"{doing}: {peer.name}")
            return _reply(response, raw)
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
        raise PermanentError(f"{doing}: the URL of {peer.name} cannot be used; check its setting") from None
    except TimeoutError:
        raise TemporaryError(f"{doing}: {peer.name} did not answer within {peer.timeout_s:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        cause = scrub(str(error) or type(error).__name__, peer.secrets)
        raise TemporaryError(f"{doing}: no connection to {peer.name} ({cause})") from None


async def request_json(
    session: aiohttp.ClientSession,
    peer: Peer,
    method: str,
    url: str,
    *,
    doing: str,
    json: Any = None,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Send one request and return its JSON object; every other answer becomes an error (see `error_of`).

    An answer that is no JSON object is a TemporaryError: it comes from something in between, and whether a write landed
    is not known.
    """
    reply = await request(session, peer, method, url, doing=doing, json=json, params=params, headers=headers)
    if not reply.ok:
        raise error_of(reply, peer, doing=doing)
    if not isinstance(reply.body, dict):
        raise TemporaryError(f"{doing}: {peer.name} answered {reply.status} with something that is not a JSON object")
    return reply.body


def error_of(reply: Reply, peer: Peer, *, doing: str) -> WatchdogError:
    """The error for an answer that is not 2xx, with what its body says.

    409 is a ConflictError; 408, 425, 429 and 5xx (but 501 and 505) are TemporaryErrors with Retry-After as their delay;
    everything else is a PermanentError.
    """
    code, message = _complaint(reply)
    sentence = f"{doing}: {peer.name} answered {reply.status}"
    sentence += f" {scrub(code, peer.secrets, limit=80)}" if code else ""
    sentence += f": {scrub(message, peer.secrets)}" if message else ""
    if 300 <= reply.status < 400:
        sentence += " (a redirect, which is not followed: the URL in the settings is not the service's own)"
    if reply.status in peer.hints:
        sentence = f"{sentence.rstrip('.')}. {peer.hints[reply.status]}"
    if reply.status == 409:
        return ConflictError(sentence, delay_s=retry_after_s(reply.headers))
    if reply.status in _TEMPORARY or (reply.status >= 500 and reply.status not in _PERMANENT_5XX):
        return TemporaryError(sentence, delay_s=retry_after_s(reply.headers))
    return PermanentError(sentence, status=reply.status)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that Retry-After asks for (RFC 9110, 10.2.3), between 0 and an hour; None when it says nothing usable.

    A date is compared with the answer's own Date header, so neither side's clock has to be right.
    """
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return min(float(text), _RETRY_AFTER_MAX_S)
    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):  # no date, or one with and one without a zone
        return None
    return min(max(wait.total_seconds(), 0.0), _RETRY_AFTER_MAX_S)


def scrub(text: str, secrets: Iterable[str] = (), *, limit: int = 500) -> str:
    """The text on one line, without the given secrets and anything shaped like one, cut to `limit` characters."""
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, "[hidden]")
    text = _SECRET_SHAPES.sub("[hidden]", text)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def url_secrets(url: str, *, path: bool = False) -> tuple[str, ...]:
    """What of a URL must never be told: user and password and, where `path` says so (webhooks), path and query."""
    try:
        parts = urlsplit(url)
        hidden = [parts.username or "", parts.password or ""]
    except ValueError:
        return ()
    if path:
        hidden += [url, parts.path, parts.path.rstrip("/").rpartition("/")[2], parts.query]
    return tuple(sorted({part for part in hidden if part}, key=len, reverse=True))


async def _send_once(outgoing: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a PUT whose connection was lost: it may have taken effect already."""
    try:
        return await send(outgoing)
    except (aiohttp.ClientConnectorError, TimeoutError):  # never repeated, and better explained as they are
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientError(f"the connection was lost: {error}") from None


async def _read(content: aiohttp.StreamReader, who: str) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in content.iter_any():
        size += len(chunk)
        if size > _ANSWER_BYTES:
            raise PermanentError(
                f"{who} sent more than {_ANSWER_BYTES // 1024**2} MB, which is no answer to our question"
            )
        chunks.append(chunk)
    return b"".join(chunks)


def _reply(response: aiohttp.ClientResponse, raw: bytes) -> Reply:
    text = raw.decode("utf-8", "replace")
    try:
        body = jsonlib.loads(text)
    except ValueError:
        body = None
    except RecursionError:  # nested thousands of levels deep: nothing we could use
        body = None
    return Reply(status=response.status, text=text, body=body, headers=response.headers)


def _complaint(reply: Reply) -> tuple[str, str]:
    """The error's name and its sentence, from the shapes that Google, Kubernetes, OAuth, PagerDuty and Slack use."""
    body = reply.body
    if not isinstance(body, dict):
        return "", "" if reply.text.lstrip().startswith("<") else reply.text
    error = body.get("error")
    if isinstance(error, dict):  # {"error": {"code": 403, "message": "…", "status": "PERMISSION_DENIED"}}
        return str(error.get("status") or ""), str(error.get("message") or "")
    if isinstance(error, str):  # OAuth, Slack: {"error": "invalid_grant", "error_description": "…"}
        return error, str(body.get("error_description") or "")
    details = body.get("errors")  # PagerDuty: {"status": "invalid event", "message": "…", "errors": ["…"]}
    more = f" ({'; '.join(map(str, details))})" if isinstance(details, list) and details else ""
    return str(body.get("reason") or ""), f"{body.get('message') or ''}{more}"
