"""Asks a service over HTTP whether it is well, and says exactly what happened.

Anything the service does is an answer, never an exception. What is *our* trouble (no token, no file handles) or says
nothing about the release (not let through) comes back as `Missing`, so that it can't move traffic.

One session keeps connections alive, as users' clients do; the other makes a connection for every probe, without a DNS
cache, because a pooled connection would hide a dead listener, an expired certificate or a broken name.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from multidict import CIMultiDict

from watchdog import __version__
from watchdog.core.model import Failed, Missing, Passed
from watchdog.core.policy import ProbeConfig
from watchdog.core.probing import ProbeAnswer
from watchdog.errors import WatchdogError
from watchdog.ports import Clock
from watchdog.sources.access import (
    DENIED,
    PEEK_BYTES,
    REDIRECTS,
    UNSERVED,
    denied_by,
    location,
    login_redirect,
    no_instance,
)
from watchdog.sources.certificates import CertificateBook, default_context
from watchdog.sources.expectations import BodyError, mismatch, parse_json
from watchdog.sources.probe_failures import explain
from watchdog.sources.probe_request import (
    ProbeRequest,
    UnsetVariableError,
    audience_of,
    build_request,
    redact,
    token_header,
)
from watchdog.sources.reachability import opens
from watchdog.sources.resolver import ThreadResolver
from watchdog.sources.tracing import PhaseTrace, trace_config

PROBE_USER_AGENT_PREFIX = "deploy-watchdog/"
"""A probe's User-Agent begins with it, also when the policy adds its own: request logs leave our probes out by it."""
PROBE_USER_AGENT = f"{PROBE_USER_AGENT_PREFIX}{__version__} (probe)"

BODY_LIMIT = 64 * 1024
"""Bytes of a body, after decompression, that a probe reads."""
KEEP_ALIVE_S = 75.0
"""Longer than the slowest regular probing (60 s), so that a kept-alive probe does use a kept connection."""
SLOW_TOKEN_SHARE = 0.1
"""A token that took more than this share of the timeout spoilt the measurement: a timeout then is ours."""
DETAIL_LIMIT = 200

TokenProvider = Callable[[str], Awaitable[str]]
"""Audience → ID token."""
Verdict = tuple[Passed | Failed | Missing, str]


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """What is known of one probe so far, whatever ends it."""

    trace: PhaseTrace
    token_s: float = 0.0
    token_due: bool = False
    status: int | None = None
    refused: bool = False
    secrets: list[str] = field(default_factory=list)


class HttpProber:
    """`ports.Prober` over aiohttp. Use as an async context manager, or call `close`.

    `id_token` gives ID tokens for probes with `auth: id_token`. `ssl_context` may trust a private authority; it becomes
    the prober's own (its `sslobject_class` is set). `hosts` is a file of names that is asked before the DNS;
    `variables` are the values of `${NAME}` in the headers of probes.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        id_token: TokenProvider | None = None,
        ssl_context: ssl.SSLContext | None = None,
        hosts: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._clock = clock
        self._variables = variables or {}
        self._id_token = id_token
        self._certificates = CertificateBook()
        self._ssl = self._certificates.watch(ssl_context or default_context())
        self._resolver = ThreadResolver(hosts)
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection. Probes under way fail."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()

    async def probe(self, probe: ProbeConfig, base_url: str, *, fresh: bool) -> ProbeAnswer:
        """See `ports.Prober.probe`."""
        started_at, started = self._clock.now(), self._clock.monotonic()
        attempt = _Attempt(trace=PhaseTrace(self._clock))
        request: ProbeRequest | None = None
        try:
            request = build_request(probe, base_url, user_agent=PROBE_USER_AGENT, variables=self._variables)
            attempt.secrets.extend(request.secrets)
            evidence, detail = await self._within(probe, request, attempt, fresh=fresh)
        except UnsetVariableError as error:
            evidence, detail = Missing("auth"), str(error)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            evidence, detail = explain(error)
        ended_at = started_at + (self._clock.monotonic() - started)
        return ProbeAnswer(
            evidence=evidence,
            started_at=started_at,
            ended_at=ended_at,
            status=attempt.status,
            detail=redact(detail, attempt.secrets)[:DETAIL_LIMIT],
            phases_s=attempt.trace.phases_s,
            certificate_expires_at=self._expiry(request, attempt),
            refused=attempt.refused and isinstance(evidence, Failed),
        )

    def _expiry(self, request: ProbeRequest | None, attempt: _Attempt) -> float | None:
        if request is None or request.url.scheme != "https" or attempt.status is None:
            return None
        return self._certificates.expires_at(request.url.raw_host or "")

    async def reachable(self, url: str, *, timeout_s: float = 1.0) -> bool:
        """See `ports.Prober.reachable`."""
        return await opens(url, self._resolver, timeout_s=timeout_s)

    async def _within(self, probe: ProbeConfig, request: ProbeRequest, attempt: _Attempt, *, fresh: bool) -> Verdict:
        """Ask, and end within the probe's timeout whatever the peer does."""
        deadline = asyncio.timeout(probe.timeout_s)
        try:
            async with deadline:
                if probe.auth == "id_token":
                    refusal = await self._authenticate(probe, request, attempt)
                    if refusal is not None:
                        return refusal
                return await self._ask(probe, request, attempt, fresh=fresh)
        except TimeoutError as error:
            if not deadline.expired():
                return explain(error)
        if attempt.token_due or attempt.token_s > SLOW_TOKEN_SHARE * probe.timeout_s:
            return Missing("auth"), f"the ID token took too long of the {probe.timeout_s:g} s"
        if attempt.status is not None and attempt.status not in probe.expect.status:
            return Failed("status"), f"answered {attempt.status}, expected {_wanted(probe)}"
        reason = "dns" if attempt.trace.current == "dns" else "timeout"
        return Failed(reason), f"no complete answer within {probe.timeout_s:g} s: stopped {attempt.trace.under_way}"

    async def _authenticate(self, probe: ProbeConfig, request: ProbeRequest, attempt: _Attempt) -> Verdict | None:
        if self._id_token is None:
            return Missing("auth"), "no ID token: no Google credentials are configured"
        attempt.token_due, started = True, self._clock.monotonic()
        try:
            token = await self._id_token(probe.audience or audience_of(request.base_url))
        except (WatchdogError, OSError) as error:
            return Missing("auth"), f"no ID token: {error}"
        attempt.token_due, attempt.token_s = False, self._clock.monotonic() - started
        attempt.secrets.append(token)
        header = token_header(probe.audience, taken="Authorization" in request.headers)
        request.headers[header] = f"Bearer {token}"
        return None

    async def _ask(self, probe: ProbeConfig, request: ProbeRequest, attempt: _Attempt, *, fresh: bool) -> Verdict:
        attempt.trace.begin("connect")
        response = await self._session(fresh=fresh).get(
            request.url, headers=request.headers, allow_redirects=False, trace_request_ctx=attempt.trace
        )
        try:
            attempt.status = response.status
            if response.status in probe.expect.status:
                return await self._judge_body(probe, response, attempt)
            return await _judge_status(probe, response, attempt)
        finally:
            response.close()

    async def _judge_body(self, probe: ProbeConfig, response: aiohttp.ClientResponse, attempt: _Attempt) -> Verdict:
        body, whole = await _read(response, BODY_LIMIT)
        if whole:
            attempt.trace.complete("transfer")
        if probe.expect.json_subset is None:
            return Passed(), ""
        if not whole:
            return Failed("too_large"), f"the body is larger than {BODY_LIMIT // 1024} KiB"
        try:
            reason = mismatch(probe.expect.json_subset, parse_json(body))
        except BodyError as error:
            return Failed("body"), str(error)
        return (Failed("json"), reason) if reason else (Passed(), "")

    def _session(self, *, fresh: bool) -> aiohttp.ClientSession:
        session = self._sessions.get(fresh)
        if session is None:
            connector = aiohttp.TCPConnector(
                ssl=self._ssl,
                resolver=self._resolver,
                use_dns_cache=False,
                force_close=fresh,
                keepalive_timeout=None if fresh else KEEP_ALIVE_S,
                limit=0,  # a probe that waits for another one would measure us, not the service
            )
            session = self._sessions[fresh] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
                trace_configs=[trace_config()],
                headers=CIMultiDict({"Accept": "application/json, */*;q=0.5"}),
            )
        return session


async def _judge_status(probe: ProbeConfig, response: aiohttp.ClientResponse, attempt: _Attempt) -> Verdict:
    """Why an unexpected status came: not let through, redirected, no instance for it, or the service itself."""
    status, headers = response.status, response.headers
    wanted = _wanted(probe)
    login = login_redirect(status, headers)
    if login:
        return Missing("access"), f"{login} (status {status}), expected {wanted}"
    if status in REDIRECTS and "Location" in headers:
        return Failed("redirect"), f"redirected ({status}) to {location(headers)}, expected {wanted}"
    peek = b""
    if status in DENIED | UNSERVED:
        with suppress(aiohttp.ClientError):  # the status has been answered; a broken page changes nothing
            peek, _ = await _read(response, PEEK_BYTES)
    denied = denied_by(status, headers, peek)
    if denied:
        return Missing("access"), f"{denied}, the request did not reach the service; expected {wanted}"
    attempt.refused = no_instance(status, headers, peek)
    return Failed("status"), f"answered {status}, expected {wanted}"


def _wanted(probe: ProbeConfig) -> str:
    return " or ".join(str(status) for status in probe.expect.status)


async def _read(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """At most `limit` bytes of the decompressed body, and whether that was all of it."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            return bytes(body[:limit]), False
    return bytes(body), True
