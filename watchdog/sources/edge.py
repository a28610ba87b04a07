"""The source `edge`: the way in that users take, seen from outside: certificate, HTTPS, security headers, CORS.

A way in that cannot be reached at all is `Missing` here: that is what probes are for, and they are faster.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from aiohttp import ClientSession

from watchdog.core.checks import CERTIFICATE, CORS, HEADERS, HTTPS, CorsCheck, EdgeCheck
from watchdog.core.model import Evidence, Failed, Missing, Passed, Sample, ServiceKey
from watchdog.core.policy import Policy
from watchdog.core.policy_checks import edge_checks
from watchdog.core.text import span
from watchdog.errors import WatchdogError
from watchdog.ports import Feed, MetricQuery
from watchdog.sources.certificates import default_context
from watchdog.sources.cloud_monitoring import Trouble
from watchdog.transport import Peer, Reply, request, scrub

TIMEOUT_S: Final = 5.0
STRANGER: Final = "https://cors-check.invalid"
"""An origin that nobody can own (RFC 2606), hence that no API lets in knowingly."""
CLOSED: Final = frozenset({403, 421, 426})
"""Statuses with which a server refuses plain HTTP."""

Verdict = tuple[Evidence, str]


class Edge:
    """`ports.Source` over HTTP and TLS. The session is shared and not closed here; `context` verifies certificates."""

    def __init__(self, session: ClientSession, *, context: ssl.SSLContext | None = None) -> None:
        self._session = session
        self._context = context
        self._trouble = Trouble(self.name)

    @property
    def name(self) -> str:
        """See `ports.Source.name`."""
        return "edge"

    async def feeds(self, service: ServiceKey, policy: Policy) -> Sequence[Feed]:  # noqa: ARG002 - the port's signature
        """See `ports.Source.feeds`."""
        check = policy.edge
        if check is None:
            return []
        return [Feed(source=self.name, check=c, period_s=check.every_s, lag_s=0.0) for c in edge_checks(check)]

    async def sample(self, query: MetricQuery, *, now: float) -> Sequence[Sample]:
        """See `ports.Source.sample`: one sample a check, from now on. Never raises for what the edge does."""
        check = query.policy.edge if query.policy is not None else None
        if check is None or query.past or query.control:
            return ()
        url = (check.url or query.about.public_url).rstrip("/")
        names = list(edge_checks(check))
        asks: Mapping[str, Callable[[], Awaitable[Verdict]]] = {
            CERTIFICATE: lambda: self._certificate(url, check.certificate_s or 0.0, now),
            HTTPS: lambda: self._https(check, url),
            HEADERS: lambda: self._headers(check, url),
            CORS: lambda: self._cors(check.cors or CorsCheck(), url),
        }
        answers = await asyncio.gather(*(self._asked(name, asks[name], url) for name in names))
        return [
            Sample(
                source=self.name,
                check=name,
                revision="",
                start=now,
                end=now + check.every_s,
                seen=now,
                evidence=evidence,
                note=note,
            )
            for name, (evidence, note) in zip(names, answers, strict=True)
        ]

    async def _asked(self, name: str, ask: Callable[[], Awaitable[Verdict]], url: str) -> Verdict:
        if not url:
            return Missing("no_url"), ""
        try:
            found = await ask()
        except WatchdogError as error:
            self._trouble.note(name, error)
            return Missing("unreachable"), ""
        self._trouble.note(name, None)
        return found

    # --- the checks -----------------------------------------------------------------------------------------------

    async def _certificate(self, url: str, valid_s: float, now: float) -> Verdict:
        """Whether the chain is trusted, and the certificate holds for `valid_s` more seconds."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme != "https":
            return Failed("no_tls"), f"{host} is reached over plain HTTP: there is no certificate"
        self._context = self._context or await asyncio.to_thread(default_context)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                _, writer = await asyncio.open_connection(
                    host, parts.port or 443, ssl=self._context, server_hostname=host
                )
        except ssl.SSLCertVerificationError as error:
            return Failed("certificate"), f"the certificate of {host} is not trusted: {error.verify_message}"
        except (TimeoutError, OSError):
            return Missing("unreachable"), ""
        try:
            found = writer.get_extra_info("peercert") or {}
            left_s = ssl.cert_time_to_seconds(str(found["notAfter"])) - now
        except (KeyError, ValueError):
            return Missing("malformed"), ""
        finally:
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await writer.wait_closed()
        if left_s < valid_s:
            return Failed("expires"), f"the certificate of {host} expires in {span(max(0.0, left_s))}"
        return Passed(), ""

    async def _https(self, check: EdgeCheck, url: str) -> Verdict:
        """Whether plain HTTP leads to HTTPS, or nowhere."""
        host = urlsplit(url).hostname or ""
        address = check.http_url or f"http://{host}{check.path}"
        try:
            reply = await self._get(address)
        except WatchdogError:
            return Passed(), ""  # closed, which is as good as a redirect
        if reply.status in {301, 302, 303, 307, 308}:
            target = reply.headers.get("Location", "")
            if target.lower().startswith("https://"):
                return Passed(), ""
            return Failed(
                "redirect"
            ), f"plain HTTP at {host} leads to {scrub(target, limit=100) or 'nowhere'}, not to HTTPS"
        if reply.status in CLOSED:
            return Passed(), ""
        return Failed("plain_http"), f"plain HTTP is answered at {host} ({reply.status}) and not led to HTTPS"

    async def _headers(self, check: EdgeCheck, url: str) -> Verdict:
        reply = await self._get(url + check.path)
        if reply.status >= 500:
            return Missing("unavailable"), ""  # error pages are made by somebody else
        wrong = [problem for name, value in check.headers.items() if (problem := header_problem(reply, name, value))]
        return (Failed("headers"), "; ".join(wrong)) if wrong else (Passed(), "")

    async def _cors(self, check: CorsCheck, url: str) -> Verdict:
        """Whether strangers are kept out, and the origins that are meant let in."""
        address = url + check.path
        for method in ("GET", "OPTIONS"):
            granted = await self._granted(address, STRANGER, method)
            if granted in {"*", STRANGER}:
                whom = "every origin" if granted == "*" else "whatever origin asks"
                return Failed("cors_open"), f"{method} {check.path} lets in {whom}"
        for origin in check.allowed:
            seen = [await self._granted(address, origin, method) for method in ("OPTIONS", "GET")]
            if origin not in seen:
                return Failed("cors_closed"), f"{check.path} does not let in {origin}"
        return Passed(), ""

    async def _granted(self, address: str, origin: str, method: str) -> str:
        asked = {"Origin": origin}
        if method == "OPTIONS":
            asked["Access-Control-Request-Method"] = "GET"
        reply = await self._get(address, method=method, headers=asked)
        return reply.headers.get("Access-Control-Allow-Origin", "").strip()

    async def _get(self, address: str, *, method: str = "GET", headers: Mapping[str, str] | None = None) -> Reply:
        peer = Peer(name="the edge", timeout_s=TIMEOUT_S)
        return await request(
            self._session, peer, method, address, doing="Looking at the edge", headers=dict(headers or {})
        )


def header_problem(reply: Reply, name: str, value: str) -> str:
    """What is wrong with one header, empty when nothing is."""
    found = reply.headers.get(name)
    if found is None:
        return f"{name} is missing"
    shown = " ".join(found.split())
    if value and shown.lower() != " ".join(value.split()).lower():
        return f"{name} is {scrub(shown, limit=60)}, expected {value}"
    if name.lower() == "strict-transport-security" and "max-age=0" in shown.replace(" ", "").lower():
        return f"{name} has max-age=0, which switches it off"
    return ""
