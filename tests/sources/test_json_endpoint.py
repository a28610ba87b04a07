"""One number out of a JSON document, or a typed reason why there is none."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.sources.servers import app as serving
from tests.sources.test_prometheus_source import HEAD, SERVICE, T0, Tokens
from watchdog.core.model import Evidence, Missing, Sample, Value
from watchdog.core.policy import Policy
from watchdog.policy_file import parse_policy
from watchdog.ports import About, MetricQuery
from watchdog.sources.json_endpoint import JsonEndpoint, pick
from watchdog.transport import open_session

POOL = {
    "pool": {"used": 18, "size": 20},
    "workers": [{"busy": 1}, {"busy": 0}],
    "state": "ok",
    "on": True,
    "none": None,
}


@pytest.mark.parametrize(
    "query, evidence",
    [
        ("pool.used", Value(18)),
        ("sum(workers[].busy)", Value(1)),
        ("workers[?busy==`1`].busy", Value(1)),
        ("workers[].busy", Missing("ambiguous: 2 values for one row")),
        ("workers[?busy==`9`].busy", Missing("no_value")),
        ("nothing.here", Missing("no_value")),
        ("none", Missing("no_value")),
        ("state", Missing("not_a_number")),
        ("on", Missing("not_a_number")),
        ("sum(state)", Missing("bad_query")),
    ],
)
def test_what_an_expression_finds(query: str, evidence: Evidence) -> None:
    assert pick(POOL, query, 1.0) == evidence


def test_the_unit_brings_the_number_to_base_units() -> None:
    assert pick({"ms": 250}, "ms", 0.001) == Value(0.25)


def policy(where: str, query: str = "pool.used", more: str = "") -> Policy:
    text = f"""{HEAD}metrics:
  pool_utilization: {{source: json_endpoint, {where}, query: '{query}', unit: "%"{more}}}
success_criteria:
  - {{metric: pool_utilization, target: "< 90%", action: investigate}}
"""
    return parse_policy(text, Path("policy.yaml")).policy


async def ask(policy: Policy, base_url: str = "", *, past: bool = False) -> list[Sample]:
    session = open_session()
    try:
        source: Any = JsonEndpoint(session, Tokens())  # type: ignore[arg-type]
        query = MetricQuery(
            service=SERVICE,
            revision="shop-2",
            start=T0,
            end=T0,
            policy=policy,
            about=About(base_url=base_url),
            past=past,
        )
        return list(await source.sample(query, now=T0))
    finally:
        await session.close()


async def test_the_document_is_read_at_its_address_or_at_the_revision_under_watch() -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(f"{request.path} {request.headers.get('Authorization')}")
        return web.json_response(POOL)

    async with serving(answer) as url:
        (whole,) = await ask(policy(f"url: '{url}/pool', auth: id_token, audience: 'https://shop.example'"))
        (below,) = await ask(policy("path: /internal/pool"), base_url=url)
        (nowhere,) = await ask(policy("path: /internal/pool"))
        assert await ask(policy(f"url: '{url}/pool'"), past=True) == [], "it only knows what is now"

    assert (whole.evidence, whole.revision, whole.start, whole.end) == (Value(0.18), "", T0, T0 + 60.0)
    assert (below.evidence, below.revision) == (Value(0.18), "shop-2")
    assert nowhere.evidence == Missing("no_url")
    assert seen == ["/pool Bearer id-of-https://shop.example", "/internal/pool None"]


async def test_an_endpoint_that_fails_is_missing_and_never_zero() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=503)

    async with serving(answer) as url:
        (failed,) = await ask(policy(f"url: '{url}'"))

    assert failed.evidence == Missing("source_error")
