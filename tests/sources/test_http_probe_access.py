"""Not being let through is no statement about the release; neither is a token that we could not get."""

import asyncio

import pytest
from aiohttp import web

from tests.sources.servers import HEALTHY, Handler, LoopClock, app, ask, config
from watchdog.core.model import Failed, Missing, Passed
from watchdog.errors import PermanentError, TemporaryError
from watchdog.sources.http_probe import HttpProber, TokenProvider
from watchdog.sources.probe_request import audience_of

CLOUD_RUN_PAGE = (
    '<html><head>\n<meta http-equiv="content-type" content="text/html;charset=utf-8">\n<title>{0}</title>\n</head>\n'
    "<body text=#000000 bgcolor=#ffffff>\n<h1>Error: {1}</h1>\n"
    "<h2>Your client does not have permission.</h2>\n</body></html>"
)
ROBOT_PAGE = (
    "<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n  <title>Error 404 (Not Found)!!1</title>\n"
    f"  <style>{'x' * 1500}</style>\n  <a href=//www.google.com/><span id=logo aria-label=Google></span></a>\n"
    "  <p><b>404.</b>"
)
GOOGLE = {"Server": "Google Frontend"}
IAP = {"X-Goog-IAP-Generated-Response": "true"}
SIGN_IN = "https://accounts.google.com/o/oauth2/v2/auth?client_id=secret-id"


Said = tuple[int, str, str, dict[str, str]]


def saying(said: Said) -> Handler:
    status, body, kind, headers = said

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, content_type=kind, headers=headers)

    return handler


def refused(status: int, words: str, heading: str) -> Said:
    return status, CLOUD_RUN_PAGE.format(words, heading), "text/html", GOOGLE


DENIALS: dict[str, Said] = {
    "no invoker role": refused(403, "403 Forbidden", "Forbidden"),
    "bad token": refused(401, "401 Unauthorized", "Unauthorized"),
    "unknown host": refused(404, "404 Page not found", "Page not found"),
    "internal ingress": (404, ROBOT_PAGE, "text/html", {}),
    "IAP without credentials": (401, "Invalid IAP credentials: empty token", "text/plain", IAP),
    "IAP without permission": (403, "<html>You don't have access</html>", "text/html", IAP),
    "IAP login": (302, "", "text/html", {"Location": SIGN_IN, **IAP}),
    "Google login": (302, "", "text/html", {"Location": SIGN_IN}),
    "IAP login elsewhere": (302, "", "text/html", {"Location": "https://login.example/x", **IAP}),
}


@pytest.mark.parametrize("denial", DENIALS)
async def test_not_being_let_through_is_missing_access_with_its_status(denial: str) -> None:
    async with app(saying(DENIALS[denial])) as url:
        answer = await ask(url, expect=HEALTHY)

    assert answer.evidence == Missing("access"), answer
    assert answer.status == DENIALS[denial][0]
    assert "secret-id" not in answer.detail


SERVICES_OWN: dict[str, Said] = {
    "its own 404 behind Google's front end": (404, "<!doctype html><title>404 Not Found</title>", "text/html", GOOGLE),
    "its own error page": (404, "<title>Oops</title><h1>Error: no such page</h1>", "text/html", GOOGLE),
    "its own 401 in JSON": (401, '{"error": "no session"}', "application/json", GOOGLE),
    "its own 403 in HTML": (403, "<html><h1>Error: go away</h1></html>", "text/html", {}),
    "Google's 500 for a container that failed": refused(500, "500 Server Error", "Server Error"),
}


@pytest.mark.parametrize("own", SERVICES_OWN)
async def test_what_the_service_itself_refuses_is_a_failure(own: str) -> None:
    async with app(saying(SERVICES_OWN[own])) as url:
        answer = await ask(url, expect=HEALTHY)

    assert answer.evidence == Failed("status"), answer
    assert answer.detail == f"answered {SERVICES_OWN[own][0]}, expected 200"


BUSY: Said = (429, "Rate exceeded.", "text/html", GOOGLE)
NOT_READY: Said = (
    503,
    "<html><head>\n<title>503 Server Error</title>\n</head>\n<body><h1>Error: Server Error</h1>\n</body></html>",
    "text/html",
    GOOGLE,
)


@pytest.mark.parametrize("said", [BUSY, NOT_READY, SERVICES_OWN["Google's 500 for a container that failed"]])
async def test_what_no_instance_took_is_a_failure_and_is_known(said: Said) -> None:
    async with app(saying(said)) as url:
        answer = await ask(url, expect=HEALTHY)

    assert answer.evidence == Failed("status")
    assert answer.refused


@pytest.mark.parametrize(
    "said",
    [
        (429, '{"error": "rate exceeded"}', "application/json", GOOGLE),  # the service's own limit
        (429, "Rate exceeded.", "text/html", {}),  # somebody else's
        (503, "<title>503 Server Error</title><h1>Database is down</h1>", "text/html", GOOGLE),
        (500, '{"detail": "internal error"}', "application/json", GOOGLE),
        SERVICES_OWN["its own 403 in HTML"],
    ],
)
async def test_what_the_service_itself_answers_was_taken_by_an_instance(said: Said) -> None:
    async with app(saying(said)) as url:
        answer = await ask(url, expect=HEALTHY)

    assert answer.evidence == Failed("status")
    assert not answer.refused


@pytest.mark.parametrize(
    "headers, audience, header",
    [
        ({}, "12-ab.apps.googleusercontent.com", "Authorization"),
        ({"authorization": "Basic b3Vyczp0aGVpcnM="}, "12-ab.apps.googleusercontent.com", "Proxy-Authorization"),
        ({"Authorization": "Basic b3Vyczp0aGVpcnM="}, "https://api.example.com", "X-Serverless-Authorization"),
    ],
)
async def test_each_door_looks_for_its_token_in_its_own_header(
    headers: dict[str, str], audience: str, header: str
) -> None:
    seen: list[str] = []

    async def door(request: web.Request) -> web.Response:
        seen.append(request.headers.get(header, ""))
        return web.json_response({"status": "healthy"})

    async with app(door) as url, HttpProber(LoopClock(), id_token=provider([])) as prober:
        await prober.probe(config(auth="id_token", audience=audience, headers=headers), url, fresh=True)

    assert seen[0].startswith("Bearer ")


async def test_headers_take_secrets_of_the_environment_and_no_answer_repeats_them() -> None:
    async def gate(request: web.Request) -> web.Response:
        given = request.headers.get("X-Api-Key", "")
        return web.json_response({"status": "healthy" if given == "key hush-hush" else f"wrong {given}"})

    headers = {"X-Api-Key": "key ${BARQ_KEY}"}
    async with app(gate) as url:
        async with HttpProber(LoopClock(), variables={"BARQ_KEY": "hush-hush"}) as prober:
            let_in = await prober.probe(config(headers=headers, expect=HEALTHY), url, fresh=True)
        async with HttpProber(LoopClock(), variables={"BARQ_KEY": "other-secret"}) as prober:
            shut_out = await prober.probe(config(headers=headers, expect=HEALTHY), url, fresh=True)
        async with HttpProber(LoopClock()) as prober:
            unset = await prober.probe(config(headers=headers, expect=HEALTHY), url, fresh=True)

    assert let_in.evidence == Passed()
    assert shut_out.evidence == Failed("json")
    assert "other-secret" not in shut_out.detail
    assert (unset.evidence, unset.detail) == (Missing("auth"), "WATCHDOG_PROBE__BARQ_KEY is not set")


async def test_a_redirect_to_the_services_own_login_is_a_failure() -> None:
    async with app(saying((302, "", "text/html", {"Location": "/login"}))) as url:
        answer = await ask(url)

    assert answer.evidence == Failed("redirect")


async def test_a_refusal_that_is_expected_passes() -> None:
    async with app(saying(DENIALS["no invoker role"])) as url:
        answer = await ask(url, expect={"status": (403,)})

    assert answer.evidence == Passed()


# --- ID tokens ----------------------------------------------------------------------------------------------------


async def private(request: web.Request) -> web.StreamResponse:
    """Cloud Run's check, then the application's."""
    bearer = request.headers.get("X-Serverless-Authorization") or request.headers.get("Authorization")
    if bearer != "Bearer ID-TOKEN":
        return await saying(DENIALS["no invoker role"])(request)
    return web.json_response({"status": "healthy", "app": request.headers.get("Authorization")})


def provider(asked: list[str]) -> TokenProvider:
    async def id_token(audience: str) -> str:
        asked.append(audience)
        return "ID-TOKEN"

    return id_token


async def test_an_id_token_opens_a_private_service() -> None:
    asked: list[str] = []
    async with app(private) as url, HttpProber(LoopClock(), id_token=provider(asked)) as prober:
        without = await prober.probe(config(), url, fresh=True)
        default = await prober.probe(config(auth="id_token", expect=HEALTHY), url, fresh=True)
        named = await prober.probe(config(auth="id_token", audience="https://aud.example"), url, fresh=True)
        elsewhere = await prober.probe(config(auth="id_token", url=f"{url}/x"), "https://base.example", fresh=True)

    assert without.evidence == Missing("access")
    assert [a.evidence for a in (default, named, elsewhere)] == [Passed()] * 3
    assert asked == [url, "https://aud.example", url]


async def test_a_probes_own_authorization_stays_and_the_token_takes_the_other_header() -> None:
    async with app(private) as url, HttpProber(LoopClock(), id_token=provider([])) as prober:
        probe = config(auth="id_token", headers={"authorization": "Basic eDp5"}, expect={"json_subset": {"app": "x"}})
        answer = await prober.probe(probe, url, fresh=True)

    assert answer.evidence == Failed("json"), answer
    assert answer.detail == 'app is "[redacted]", expected "x"'


async def refuse(_: str) -> str:
    raise PermanentError("the metadata server knows no default service account")


async def lose(_: str) -> str:
    raise TemporaryError("the metadata server did not answer")


async def stall(_: str) -> str:
    await asyncio.Event().wait()
    raise AssertionError


async def break_down(_: str) -> str:
    raise TimeoutError


@pytest.mark.parametrize("id_token", [None, refuse, lose, stall, break_down])
async def test_a_token_that_cannot_be_had_is_our_problem(id_token: TokenProvider | None) -> None:
    async with app(private) as url, HttpProber(LoopClock(), id_token=id_token) as prober:
        answer = await prober.probe(config(auth="id_token", timeout_s=0.2), url, fresh=True)

    assert answer.evidence == Missing("auth"), answer
    assert answer.status is None
    assert "token" in answer.detail


async def test_a_timeout_after_a_slow_token_is_not_held_against_the_service() -> None:
    async def slow(_: str) -> str:
        await asyncio.sleep(0.15)
        return "ID-TOKEN"

    async def hanging(_: web.Request) -> web.Response:
        await asyncio.sleep(5)
        raise AssertionError

    async with app(hanging) as url:
        async with HttpProber(LoopClock(), id_token=slow) as prober:
            spoilt = await prober.probe(config(auth="id_token", timeout_s=0.3), url, fresh=True)
        async with HttpProber(LoopClock(), id_token=provider([])) as prober:
            clear = await prober.probe(config(auth="id_token", timeout_s=0.3), url, fresh=True)

    assert spoilt.evidence == Missing("auth")
    assert clear.evidence == Failed("timeout")
    assert max(a.ended_at - a.started_at for a in (spoilt, clear)) < 1.5


@pytest.mark.parametrize(
    "base_url, audience",
    [
        ("https://api-abc-uc.a.run.app", "https://api-abc-uc.a.run.app"),
        ("https://wd-00002-x---api-abc-uc.a.run.app/", "https://api-abc-uc.a.run.app"),
        ("https://t---api-123.us-central1.run.app", "https://api-123.us-central1.run.app"),
        ("https://api.barqfleet.com/v1", "https://api.barqfleet.com"),
        ("https://a---b.barqfleet.com", "https://a---b.barqfleet.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_the_default_audience_is_the_services_url_without_the_tag(base_url: str, audience: str) -> None:
    assert audience_of(base_url) == audience
