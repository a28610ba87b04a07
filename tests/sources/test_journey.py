"""A journey over real HTTP: what it proves, what it cannot judge, what it never shows, what it leaves behind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.sources.servers import LoopClock
from watchdog.core.journey import Journey
from watchdog.core.model import Failed, Missing, Passed
from watchdog.core.probing import ProbeAnswer
from watchdog.journey_file import parse_journey
from watchdog.sources.journey import USER_AGENT, HttpJourneys
from watchdog.sources.redaction import excerpt

SECRETS = {"user": "ada@example.org", "password": "correct-horse"}
TEXT = """\
timeout: 1s
step_timeout: 500ms
steps:
  - name: log in
    path: /login
    json: {user: "${secret.user}", password: "${secret.password}"}
    expect: {header: {Content-Type: application/json}}
    capture:
      token: {jmespath: token}
      csrf: {header: X-Csrf}
      sid: {cookie: sid}
      build: {regex: '"build": "(\\w+)"'}
  - name: create
    path: /things
    headers: {Authorization: "Bearer ${token}", X-Csrf: "${csrf}"}
    json: {name: "n ${run}", build: "${build}"}
    expect: {status: 201, json: {name: "n ${run}"}}
    capture: {thing: {jmespath: id}}
  - name: read
    path: /things/${thing}
    expect: {json: {id: "${thing}"}, jmespath: {MATCH}}
cleanup:
  - {name: never made, method: DELETE, path: "/things/${thing}", after: create, expect: {status: 204}}
  - {name: log out, method: POST, path: /logout}
"""


@dataclass
class Shop:
    """A service with a cookie session, whose steps a test can break."""

    url: str = ""
    things: set[int] = field(default_factory=set)
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    broken: dict[str, web.Response] = field(default_factory=dict)
    hangs: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.path, request.headers["User-Agent"]))
        if request.path == self.hangs:
            await asyncio.sleep(30)
        if (found := self.broken.get(request.path)) is not None:
            return web.Response(status=found.status, body=found.body, headers=found.headers)
        if request.path == "/login":
            answer = web.json_response({"token": "t0ken-of-ada", "build": "b7"}, headers={"X-Csrf": "c5rf-of-ada"})
            answer.set_cookie("sid", "s1d")
            return answer
        if request.path == "/logout":
            return web.Response()
        if request.cookies.get("sid") != "s1d":
            return web.json_response({"detail": "no session"}, status=401)
        if request.method == "POST":
            if request.headers["Authorization"] != "Bearer t0ken-of-ada" or request.headers["X-Csrf"] != "c5rf-of-ada":
                return web.json_response({"detail": "no token"}, status=403)
            body = await request.json()
            self.things.add(7)
            return web.json_response({"id": 7, **body}, status=201)
        if request.method == "DELETE":
            self.things.discard(7)
            return web.Response(status=204)
        return web.json_response({"id": 7, "tags": ["new", "red"]})


@asynccontextmanager
async def shop() -> AsyncIterator[Shop]:
    made = Shop()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    async with TestServer(app) as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made


def journey(match: str = '"length(tags) == `2`"') -> Journey:
    return parse_journey(TEXT.replace("{MATCH}", match), Path("j.yaml")).journey


@asynccontextmanager
async def journeys(**secrets: str) -> AsyncIterator[HttpJourneys]:
    async with HttpJourneys(LoopClock(), secrets=secrets or SECRETS, new_run=lambda: "r1") as made:
        yield made


async def run(made: Shop, what: Journey | None = None) -> ProbeAnswer:
    async with journeys() as runner:
        return await runner.run(what or journey(), made.url)


async def test_variables_cookies_and_captures_carry_a_journey_through_and_it_cleans_up() -> None:
    async with shop() as made:
        answer = await run(made)
        assert isinstance(answer.evidence, Passed), answer.detail
        assert [(s.name, s.result, s.status, s.cleanup) for s in answer.steps] == [
            ("log in", "passed", 200, False),
            ("create", "passed", 201, False),
            ("read", "passed", 200, False),
            ("never made", "passed", 204, True),
            ("log out", "passed", 200, True),
        ]
        assert not made.things
        assert {agent for _, _, agent in made.seen} == {USER_AGENT}
        assert USER_AGENT.startswith("deploy-watchdog/")


@pytest.mark.parametrize(
    "match, passes",
    [
        ('"length(tags) == `3`"', False),
        ('[{jmespath: "tags", contains: red}]', True),
        ('[{jmespath: "tags", contains: blue}]', False),
        ('[{jmespath: "id", equals: "${thing}"}]', True),
        ('[{jmespath: "tags[0]", equals: old}]', False),
        ('"join(id, tags)"', False),
        ('"id"', False),
    ],
)
async def test_assertions_hold_or_say_what_they_found(match: str, passes: bool) -> None:  # noqa: FBT001
    async with shop() as made:
        answer = await run(made, journey(match))
        assert answer.ok is passes
        assert passes or answer.evidence == Failed("assertion")
        assert passes or answer.detail.startswith("step read: ")


async def test_a_failed_step_ends_it_skips_the_rest_and_still_cleans_up() -> None:
    async with shop() as made:
        made.broken["/things/7"] = web.json_response({"detail": "boom"}, status=500)
        answer = await run(made)
        assert answer.evidence == Failed("status")
        assert answer.status == 500
        assert answer.detail == 'step read: answered 500, expected 200; body: {"detail": "boom"}'
        assert [s.result for s in answer.steps] == ["passed", "passed", "failed", "failed", "passed"]
        assert made.seen[-1][:2] == ("POST", "/logout")


async def test_without_what_it_would_delete_a_cleanup_step_is_skipped() -> None:
    async with shop() as made:
        made.broken["/things"] = web.json_response({}, status=201)
        answer = await run(made)
        assert answer.evidence == Failed("capture")
        assert [s.result for s in answer.steps] == ["passed", "failed", "skipped", "skipped", "passed"]


async def test_what_cannot_be_captured_fails_the_step_and_says_what_is_missing() -> None:
    async with shop() as made:
        made.broken["/things"] = web.json_response({"name": "n r1"}, status=201)
        answer = await run(made)
        assert answer.evidence == Failed("capture")
        assert 'thing cannot be captured: the answer has no jmespath "id"' in answer.detail


async def test_a_step_and_the_whole_end_in_time() -> None:
    async with shop() as made:
        made.hangs = "/things"
        answer = await run(made)
        assert answer.evidence == Failed("timeout")
        assert "no complete answer within 0.5 s" in answer.detail
        assert answer.ended_at - answer.started_at < 1.5


async def test_called_off_half_way_it_still_deletes_what_it_made() -> None:
    async with shop() as made:
        made.hangs = "/things/7"
        async with journeys() as runner:
            task = asyncio.create_task(runner.run(journey(), made.url))
            while not made.things or made.seen[-1][1] != "/things/7":  # noqa: ASYNC110 - the server tells no event
                await asyncio.sleep(0.01)
            made.hangs = ""
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert not made.things
        assert made.seen[-1][:2] == ("POST", "/logout")


async def test_no_credentials_and_no_access_are_no_evidence_against_the_service() -> None:
    page = "<html><title>403 Forbidden</title><h1>Error: Forbidden</h1></html>"
    async with shop() as made:
        async with journeys(user="ada@example.org") as runner:
            answer = await runner.run(journey(), made.url)
            assert answer.evidence == Missing("credentials")
            assert "password" in answer.detail
        made.broken["/login"] = web.Response(
            status=403, body=page, headers={"Content-Type": "text/html", "Server": "Google Frontend"}
        )
        answer = await run(made)
        assert answer.evidence == Missing("access")
        assert [s.result for s in answer.steps][:2] == ["missing", "skipped"]


async def test_a_dead_address_is_told_as_a_probe_tells_it() -> None:
    async with journeys() as runner:
        answer = await runner.run(journey(), "http://127.0.0.1:9")
        assert answer.evidence == Failed("refused")


async def test_neither_secrets_nor_captured_tokens_nor_personal_data_are_shown() -> None:
    async with shop() as made:
        made.broken["/things"] = web.json_response(
            {"error": "no", "echo": "correct-horse t0ken-of-ada c5rf-of-ada", "mail": "bob@example.org"}, status=500
        )
        answer = await run(made)
        told = repr(answer)
        assert 'step create: answered 500, expected 201; body: {"error": "no"' in answer.detail
        for secret in ("correct-horse", "t0ken-of-ada", "c5rf-of-ada", "ada@example.org", "bob@example.org"):
            assert secret not in told


@pytest.mark.parametrize(
    "body, shown",
    [
        ('{"access_token": "abc", "id": 5}', '{"access_token": [redacted], "id": 5}'),
        ("password=hunter2&next=/", "password=[redacted]&next=/"),
        ("Authorization: Bearer abcdef.ghi", "Authorization: [redacted] [redacted]"),
        ("eyJhbGciOi.eyJzdWIiOi.c2ln is bad", "[redacted] is bad"),
        ("call +49 170 1234567 now", "call [redacted] now"),
        ('{"shipping": "fast", "passengers": 3}', '{"shipping": "fast", "passengers": 3}'),
        ("a\x00\n b", "a b"),
        ("x" * 500, "x" * 159 + "…"),
    ],
)
def test_an_excerpt_hides_what_looks_like_a_secret(body: str, shown: str) -> None:
    assert excerpt(body.encode(), ()) == shown
