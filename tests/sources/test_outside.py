"""Version, edge and jobs: real HTTP and TLS, and the emulated Cloud Scheduler."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from tests.sources.servers import app as serving
from tests.sources.servers import raw, says
from tests.sources.test_http_probe_tls import serving as tls_of
from tests.sources.test_http_probe_tls import trusting
from tests.sources.test_prometheus_source import HEAD, SERVICE, Tokens
from watchdog.core.model import Evidence, Failed, Missing, Passed
from watchdog.emulator.scheduler import Scheduler, add_scheduler_routes
from watchdog.policy_file import parse_policy
from watchdog.ports import About, MetricQuery, Source
from watchdog.sources.edge import Edge
from watchdog.sources.jobs import Jobs
from watchdog.sources.version import VersionEndpoint
from watchdog.transport import open_session

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp()
Found = dict[str, tuple[Evidence, str]]


async def ask(make: Callable[[Any], Source], section: str, *, now: float = NOW, **about: Any) -> Found:
    """Check → evidence and note, under a policy with this section (YAML)."""
    policy = parse_policy(f"{HEAD}{section}\n", Path("policy.yaml")).policy
    session = open_session()
    try:
        source = make(session)
        feeds = {f.check for f in await source.feeds(SERVICE, policy)}
        query = MetricQuery(service=SERVICE, revision="shop-2", start=now, end=now, policy=policy, about=About(**about))
        samples = await source.sample(query, now=now)
        assert {s.check for s in samples} == feeds
        assert all(s.start == now < s.end for s in samples)
        return {s.check.removeprefix("check."): (s.evidence, s.note) for s in samples}
    finally:
        await session.close()


# --- version ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more, expected, body, evidence, note",
    [
        (", json: version", "1.4.0", {"version": "1.4.0"}, Passed(), ""),
        (", json: version", "v1.4.0", {"version": "1.4.0"}, Passed(), ""),
        (", json: version", "1.4.0", {"version": "1.3.9"}, Failed("version"), "answers 1.3.9, expected 1.4.0"),
        (", json: build.tag", "1.4.0", {"version": "1.4.0"}, Failed("no_version"), "the answer holds no version"),
        (", json: version", "", {"version": "1.4.0"}, Missing("no_expected_version"), ""),
        ("", "1.4.0", "1.4.0\n", Passed(), ""),
        (", pattern: '1\\.4\\..*'", "", "1.4.7", Passed(), ""),
        (", pattern: '1\\.4\\..*'", "", "1.5.0", Failed("version"), "answers 1.5.0, which is not like 1\\.4\\..*"),
        (", json: version", "1.4.0", None, Missing("source_error"), ""),
    ],
)
async def test_the_version_that_answers(more: str, expected: str, body: Any, evidence: Evidence, note: str) -> None:
    async def answer(_request: web.Request) -> web.Response:
        if body is None:
            return web.Response(status=503)
        return web.Response(text=body) if isinstance(body, str) else web.json_response(body)

    async with serving(answer) as url:
        found = await ask(
            lambda s: VersionEndpoint(s, Tokens()),  # type: ignore[arg-type]
            f"version_check: {{path: /version{more}}}",
            base_url=url,
            version=expected,
        )

    assert found == {"version": (evidence, note)}


# --- edge ---------------------------------------------------------------------------------------------------------

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'self'",
    "Strict-Transport-Security": "max-age=31536000",
}
HEADERS = """edge:
  headers: {X-Content-Type-Options: nosniff, X-Frame-Options: DENY, Content-Security-Policy: present, Strict-Transport-Security: present}
"""  # noqa: E501 - as a team writes it


@pytest.mark.parametrize(
    "headers, problem",
    [
        (SAFE, ""),
        (SAFE | {"X-Frame-Options": "deny"}, ""),
        (SAFE | {"X-Frame-Options": "SAMEORIGIN"}, "X-Frame-Options is SAMEORIGIN, expected DENY"),
        (SAFE | {"Strict-Transport-Security": "max-age=0"}, "Strict-Transport-Security has max-age=0"),
        ({}, "X-Content-Type-Options is missing; X-Frame-Options is missing; Content-Security-Policy is missing"),
    ],
)
async def test_the_security_headers(headers: dict[str, str], problem: str) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=404, headers=headers)

    async with serving(answer) as url:
        found = await ask(Edge, HEADERS, public_url=url)

    evidence, note = found["edge.headers"]
    assert isinstance(evidence, Failed if problem else Passed)
    assert note.startswith(problem)


@pytest.mark.parametrize(
    "policy, origin_of, evidence, note",
    [
        ("[https://app.example]", lambda o: o if o == "https://app.example" else "", Passed(), ""),
        ("[https://app.example]", lambda _: "", Failed("cors_closed"), "/ does not let in https://app.example"),
        ("[]", lambda _: "*", Failed("cors_open"), "GET / lets in every origin"),
        ("[]", lambda o: o, Failed("cors_open"), "GET / lets in whatever origin asks"),
    ],
)
async def test_cors_lets_in_whom_it_should(
    policy: str, origin_of: Callable[[str], str], evidence: Evidence, note: str
) -> None:
    async def answer(request: web.Request) -> web.Response:
        allowed = origin_of(request.headers["Origin"])
        return web.Response(headers={"Access-Control-Allow-Origin": allowed} if allowed else {})

    async with serving(answer) as url:
        found = await ask(Edge, f"edge: {{cors: {{allowed: {policy}}}}}", public_url=url)

    assert found == {"edge.cors": (evidence, note)}


@pytest.mark.parametrize(
    "status, location, evidence",
    [
        (301, "https://shop.example/", Passed()),
        (302, "http://shop.example/login", Failed("redirect")),
        (403, "", Passed()),
        (200, "", Failed("plain_http")),
    ],
)
async def test_plain_http_leads_to_https_or_nowhere(status: int, location: str, evidence: Evidence) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": location} if location else {})

    async with serving(answer) as url:
        open_ = await ask(Edge, f"edge: {{https: '{url}/'}}", public_url="https://shop.example")
    closed = await ask(Edge, f"edge: {{https: '{url}/'}}", public_url="https://shop.example")

    assert open_["edge.https"][0] == evidence
    assert closed["edge.https"][0] == Passed(), "a closed port is as good as a redirect"


async def certificate(
    expires: datetime, context: ssl.SSLContext, authority: trustme.CA, *, now: float = NOW
) -> tuple[Evidence, str]:
    issued = authority.issue_cert("localhost", not_after=expires)
    async with raw(says(b""), tls=tls_of(issued)) as url:
        named = url.replace("127.0.0.1", "localhost")
        found = await ask(
            lambda s: Edge(s, context=context), "edge: {certificate: {valid_for: 14d}}", now=now, public_url=named
        )
    return found["edge.certificate"]


async def test_the_certificate_is_trusted_and_holds_long_enough() -> None:
    authority = trustme.CA()
    far = datetime(2090, 1, 1, tzinfo=UTC)

    assert await certificate(far, trusting(authority), authority) == (Passed(), "")
    stranger, note = await certificate(far, ssl.create_default_context(), authority)
    assert stranger == Failed("certificate")
    assert note.startswith("the certificate of localhost is not trusted")
    late = datetime(2089, 12, 28, tzinfo=UTC).timestamp()
    assert await certificate(far, trusting(authority), authority, now=late) == (
        Failed("expires"),
        "the certificate of localhost expires in 96 h",
    )


async def test_an_edge_that_is_away_or_plain_says_so() -> None:
    section = "edge: {certificate: true, headers: [X-Frame-Options]}"

    assert await ask(Edge, section, public_url="http://127.0.0.1:1") == {
        "edge.certificate": (Failed("no_tls"), "127.0.0.1 is reached over plain HTTP: there is no certificate"),
        "edge.headers": (Missing("unreachable"), ""),
    }
    assert (await ask(Edge, section, public_url="https://127.0.0.1:1"))["edge.certificate"] == (
        Missing("unreachable"),
        "",
    )
    assert set((await ask(Edge, section)).values()) == {(Missing("no_url"), "")}


# --- jobs ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def scheduler() -> AsyncIterator[tuple[Scheduler, str]]:
    from aiohttp.test_utils import TestServer  # noqa: PLC0415 - only here

    made, application = Scheduler(), web.Application()
    add_scheduler_routes(application, made, with_control=True)
    async with TestServer(application, host="127.0.0.1") as server:
        yield made, f"http://127.0.0.1:{server.port}"


def stamp(offset_s: float) -> str:
    return datetime.fromtimestamp(NOW + offset_s, UTC).isoformat().replace("+00:00", "Z")


SINCE = NOW - 3600.0


@pytest.mark.parametrize(
    "job, evidence, note",
    [
        ({"lastAttemptTime": stamp(-60), "scheduleTime": stamp(240), "status": {}}, Passed(), ""),
        (
            {"lastAttemptTime": stamp(-60), "scheduleTime": stamp(240), "status": {"code": 13, "message": "boom"}},
            Failed("attempt_failed"),
            "its last attempt failed (code 13: boom)",
        ),
        ({"lastAttemptTime": stamp(-7200), "status": {"code": 13}}, Missing("no_attempt_yet"), ""),
        ({"state": "PAUSED"}, Failed("not_enabled"), "the job is paused, so it does not run"),
        (
            {"lastAttemptTime": stamp(-7200), "scheduleTime": stamp(-1200)},
            Failed("overdue"),
            "was due 20 min ago and was not attempted",
        ),
        (None, Failed("no_job"), "there is no Cloud Scheduler job nightly-report"),
    ],
)
async def test_what_cloud_scheduler_says_of_a_job(job: dict[str, Any] | None, evidence: Evidence, note: str) -> None:
    async with scheduler() as (made, url):
        if job is not None:
            made.put("nightly-report", job)
        found = await ask(
            lambda s: Jobs(s, Tokens(), base_url=url),  # type: ignore[arg-type]
            "jobs: {nightly: {scheduler: nightly-report}}",
            since=SINCE,
        )

    assert found == {"job.nightly": (evidence, note)}


@pytest.mark.parametrize(
    "last, since, evidence, note",
    [
        (NOW - 600, SINCE, Passed(), ""),
        (None, NOW - 600, Missing("no_heartbeat_yet"), ""),
        (NOW - 3900, NOW - 600, Missing("no_heartbeat_yet"), ""),
        (None, NOW - 7200, Failed("no_heartbeat"), "pinged never, expected every 60 min"),
        (NOW - 7000, NOW - 9000, Failed("no_heartbeat"), "pinged 1 h 57 min ago, expected every 60 min"),
    ],
)
async def test_a_job_that_pings(last: float | None, since: float, evidence: Evidence, note: str) -> None:
    found = await ask(
        lambda s: Jobs(s, Tokens()),  # type: ignore[arg-type]
        "jobs: {cleanup: {heartbeat: 1h, grace: 10m}}",
        since=since,
        heartbeats={} if last is None else {"cleanup": last},
    )

    assert found == {"job.cleanup": (evidence, note)}
