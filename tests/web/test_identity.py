"""Google identities beside the API token: who is known may act, under their own name; everybody else may not."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.actions.recorder import Answer
from tests.google_signer import AUDIENCE, CI, PUSHER, KeyServer, ec_key, publishing, rsa_key
from tests.web import views
from tests.web.world import TOKEN, WORKER, Site, serve
from watchdog.app import build
from watchdog.engine.clock import SystemClock
from watchdog.settings import load_settings
from watchdog.transport.identity import GoogleIdentities
from watchdog.web.services import SERVICES

KEY, OTHER = rsa_key("rsa-1"), ec_key("ec-9")
ACK = "/api/v1/watches/w7f3k2/ack"
WATCH = "watch/w7f3k2"
SERVICE = f"service/{WORKER}"


def knowing(google: KeyServer, token: str | None = TOKEN) -> AbstractAsyncContextManager[Site]:
    """A server that knows two Google identities, and the API token where there is one."""
    known = GoogleIdentities(
        google.session, SystemClock(), audience=AUDIENCE, emails=(PUSHER, CI), keys_url=google.url, timeout_s=1.0
    )
    return serve(token, identify=known.verify)


@pytest.fixture
async def google() -> AsyncIterator[KeyServer]:
    async with publishing(KEY) as server:
        yield server


@pytest.fixture
async def site(token: str | None, google: KeyServer) -> AsyncIterator[Site]:
    async with knowing(google, token) as made:
        await made.put(views.watching())
        yield made


async def test_an_identity_that_is_named_may_act_and_its_email_says_who_did(site: Site) -> None:
    for path, body in (
        (ACK, None),
        ("/api/v1/watches/w7f3k2/signals", {"signal": "database_corruption"}),
        ("/api/v1/services/barq-worker/release", {"on_next": True}),
    ):
        status, answer = await site.send(path, body, token=KEY.sign(email=CI))
        assert (status, answer["accepted"]) == (202, True)

    letters = [*await site.letters(WATCH), *await site.letters(SERVICE)]
    assert [(kind, letter["by"]) for kind, letter in letters] == [("operator", CI), ("signal", CI), ("release", CI)]


async def test_a_name_in_the_body_says_more_than_the_email_of_the_pipeline(site: Site) -> None:
    await site.send(ACK, {"by": "jane"}, token=KEY.sign(email=CI))

    assert [letter["by"] for _, letter in await site.letters(WATCH)] == ["jane"]


async def test_the_api_token_goes_on_working_and_asks_google_nothing(site: Site, google: KeyServer) -> None:
    status, _ = await site.send(ACK)

    assert (status, google.asked) == (202, 0)
    assert [letter["by"] for _, letter in await site.letters(WATCH)] == ["api"]


@pytest.mark.parametrize("token", [None, ""])
async def test_identities_need_no_api_token_beside_them(site: Site, token: str | None) -> None:
    assert (await site.send(ACK, token=KEY.sign()))[0] == 202
    for given in ("", TOKEN, "wrong"):
        status, problem = await site.send(ACK, {"reason": "mine"}, token=given)
        assert status == problem["status"] == 401
    assert len(await site.letters(WATCH)) == 1


REFUSED = {
    "expired": KEY.sign(exp_in_s=-60, iat_in_s=-3660),
    "for somebody else": KEY.sign(aud="https://other.example.com"),
    "from somebody else": KEY.sign(email="eve@example.com"),
    "unverified": KEY.sign(email_verified=False),
    "not Google's": OTHER.sign(),
    "another issuer": KEY.sign(iss="https://evil.example.com"),
    "malformed": "a.b.c",
    "dots": "..",
    "no token": "wrong",
    "nothing": "",
}


@pytest.mark.parametrize("path", [ACK, "/api/v1/deploys", "/hooks/pubsub"])
@pytest.mark.parametrize("why", REFUSED)
async def test_every_other_token_is_a_401_document_that_does_not_repeat_it(site: Site, path: str, why: str) -> None:
    status, problem = await site.send(path, {}, token=REFUSED[why])

    assert status == problem["status"] == 401
    assert problem["title"] == "Unauthorized"
    assert not any(part in json.dumps(problem) for part in REFUSED[why].split(".") if len(part) > 5)
    assert await site.letters(WATCH) == []


@pytest.mark.parametrize("path", [ACK, "/api/v1/deploys", "/hooks/pubsub"])
async def test_when_googles_keys_cannot_be_had_the_answer_is_401_too(site: Site, google: KeyServer, path: str) -> None:
    google.recorder.answers.append(Answer(status=503, body={}))

    status, problem = await site.send(path, {}, token=KEY.sign())

    assert status == problem["status"] == 401
    assert "Reading Google's keys" in problem["detail"]


async def test_with_no_identity_configured_a_google_token_is_just_a_wrong_token() -> None:
    async with serve() as site:
        await site.put(views.watching())
        for given in (KEY.sign(), "wrong", ""):
            for path in (ACK, "/hooks/pubsub"):
                status, problem = await site.send(path, {}, token=given)
                assert status == problem["status"] == 401
            assert "WATCHDOG_OIDC__AUDIENCE" in problem["detail"]


async def test_reading_needs_no_identity(site: Site, google: KeyServer) -> None:
    assert (await site.get("/api/v1/watches"))["watches"]
    assert google.asked == 0


async def test_the_environment_says_whom_the_daemon_knows(tmp_path: Path) -> None:
    base = {"WATCHDOG_DATABASE_URL": f"sqlite:///{tmp_path / 'w.db'}", "CLOUD_RUN_EMULATOR_HOST": "127.0.0.1:1"}
    named = {
        "WATCHDOG_OIDC__AUDIENCE": AUDIENCE, "WATCHDOG_OIDC__EMAILS": f"{PUSHER}, {CI}",
        "WATCHDOG_PAGERDUTY__WEBHOOK_SECRET": "from-pagerduty", "WATCHDOG_SLACK__SIGNING_SECRET": "from-slack",
    }  # fmt: skip
    async with build(load_settings(base | named), [], discover=False) as app:
        known = app.web()[SERVICES]
        assert known.identify is not None
        assert (known.pagerduty_secret, known.slack_secret) == ("from-pagerduty", "from-slack")
        assert "from-" not in repr(known)
    async with build(load_settings(base), [], discover=False) as app:
        known = app.web()[SERVICES]
        assert (known.identify, known.pagerduty_secret, known.slack_secret) == (None, None, None)
