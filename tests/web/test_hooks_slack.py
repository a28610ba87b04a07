"""Buttons in Slack: signed, by somebody who may, once. Everything else is refused."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.web import views
from tests.web.world import API, Site, serve
from watchdog.core.model import ServiceKey

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
WATCH = "watch/w7f3k2"
CLICK: dict[str, Any] = {
    "type": "block_actions", "user": {"id": "U024BE7LH", "username": "jane", "team_id": "T061EG9R6"},
    "api_app_id": "A02", "trigger_id": "12321423423.333649436676.d8c1bb837935619ccad0f624c448ffb3",
    "response_url": "https://hooks.slack.com/actions/T061EG9R6/1/abc",
    "actions": [{"action_id": "watchdog_ack", "block_id": "b", "type": "button", "value": "w7f3k2|w7f3k2:3:decision",
                 "action_ts": "1790000425"}],
}  # fmt: skip
FORM = urlencode({"payload": json.dumps(CLICK)}).encode()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve(slack_secret=SECRET) as made:
        yield made


@pytest.fixture
async def keyless() -> AsyncIterator[Site]:
    """A server that was given no secret."""
    async with serve() as made:
        yield made


def signature(raw: bytes, at: str, secret: str = SECRET) -> str:
    return "v0=" + hmac.new(secret.encode(), f"v0:{at}:".encode() + raw, hashlib.sha256).hexdigest()


async def click(
    site: Site, raw: bytes = FORM, *, late_s: int = 0, at: str | None = None, given: str | None = None
) -> Any:
    """What Slack posts for a click, signed as it signs unless `at` or `given` say otherwise."""
    stamp = at if at is not None else str(int(site.clock.now()) - late_s)
    headers = {
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": signature(raw, stamp) if given is None else given,
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return await site.send("/hooks/slack", raw, token=None, **headers)


ROLES = {"U024BE7LH": "operator", "U0RESPOND": "responder"}


@asynccontextmanager
async def staffed() -> AsyncIterator[tuple[Site, list[tuple[str, str]]]]:
    """A site whose policy names who may what, and what people were told privately."""
    told: list[tuple[str, str]] = []

    async def whisper(url: str, text: str) -> None:
        told.append((url, text))

    def roles(key: ServiceKey) -> dict[str, str]:
        return ROLES if key == API else {}

    async with serve(slack_secret=SECRET, slack_roles=roles, whisper=whisper) as made:
        yield made, told


def pressed(verb: str = "ack", *, member: str = "U024BE7LH", key: str = "w7f3k2:3:decision", **changes: Any) -> bytes:
    """The form of a click."""
    action = {**CLICK["actions"][0], "action_id": f"watchdog_{verb}", "value": f"w7f3k2|{key}"}
    body = {**CLICK, "user": {**CLICK["user"], "id": member, "name": "jane"}, "actions": [action], **changes}
    return urlencode({"payload": json.dumps(body)}).encode()


@pytest.mark.parametrize("late_s", [0, 299, -299])
@pytest.mark.parametrize("verb", ["ack", "hold", "rollback"])
async def test_a_button_puts_the_same_letter_into_the_inbox_as_the_api(verb: str, late_s: int) -> None:
    async with staffed() as (site, told):
        await site.put(views.watching())
        status, _ = await click(site, pressed(verb), late_s=late_s)
        letters = await site.letters(WATCH)
    assert status == 200
    assert letters == [("operator", {"verb": verb, "by": "jane", "reason": "by a button in Slack"})]
    assert told[0][0] == CLICK["response_url"]


async def test_a_button_counts_once_a_message() -> None:
    async with staffed() as (site, told):
        await site.put(views.watching())
        for key in ("a", "a", "b"):
            await click(site, pressed(key=key))
            site.clock.at += 60
        assert len(await site.letters(WATCH)) == 2
    assert "counts once" in told[1][1]


@pytest.mark.parametrize(
    "verb, member, may",
    [
        ("ack", "U0RESPOND", True),
        ("hold", "U0RESPOND", True),
        ("rollback", "U0RESPOND", False),
        ("ack", "U0NOBODY1", False),
        ("rollback", "", False),
    ],
)
async def test_a_button_asks_for_a_role(*, verb: str, member: str, may: bool) -> None:
    async with staffed() as (site, told):
        await site.put(views.watching())
        assert (await click(site, pressed(verb, member=member)))[0] == 200
        assert bool(await site.letters(WATCH)) is may
    assert ("Nothing was done" in told[0][1]) is not may


async def test_a_second_rollback_is_told_why_not() -> None:
    async with staffed() as (site, told):
        await site.put(views.watching(rollback={"state": "done"}))
        await click(site, pressed("rollback"))
        assert await site.letters(WATCH) == []
    assert "there is one a deploy" in told[0][1]


@pytest.mark.parametrize(
    "changes",
    [
        {"actions": []},
        {"actions": None},
        {"actions": ["x"]},
        {"type": "view_submission"},
        {"actions": [{"action_id": "ack", "value": "w7f3k2|x"}]},
        {"actions": [{"action_id": "watchdog_delete", "value": "w7f3k2|x"}]},
        {"actions": [{"action_id": "watchdog_ack", "value": "|x"}]},
        {"user": "jane"},
    ],
)
async def test_what_is_none_of_our_buttons_changes_nothing(changes: dict[str, Any]) -> None:
    async with staffed() as (site, _):
        await site.put(views.watching())
        assert (await click(site, pressed(**changes)))[0] == 200
        assert await site.letters(WATCH) == []


async def test_a_watch_that_is_gone_is_said() -> None:
    async with staffed() as (site, told):
        await click(site, pressed())
    assert "no watch w7f3k2 any more" in told[0][1]


async def test_slacks_own_example_of_a_signature_holds() -> None:
    """From https://api.slack.com/authentication/verifying-requests-from-slack: the form lacks a payload, hence 400."""
    raw = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&"
        b"channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&"
        b"response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&"
        b"trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    given = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    async with serve(slack_secret=SECRET) as site:
        site.clock.at = 1531420618.0
        status, problem = await click(site, raw, at="1531420618", given=given)

    assert status == problem["status"] == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"late_s": 301},
        {"late_s": -301},
        {"at": ""},
        {"at": "now"},
        {"at": "1790000425.5"},
        {"at": "-1790000425"},
        {"at": "١٧٩٠٠٠٠٤٢٥"},
        {"at": "9" * 40},
        {"given": ""},
        {"given": "v0="},
        {"given": "v0=ü"},
        {"given": signature(FORM, "1790000425", "another secret")},
        {"given": signature(FORM + b"&", "1790000425")},
        {"given": signature(FORM, "1790000424")},
        {"given": signature(FORM, "1790000425").replace("v0=", "v1=")},
    ],
)
async def test_a_click_that_slack_did_not_sign_just_now_is_401(site: Site, changes: dict[str, Any]) -> None:
    status, problem = await click(site, **changes)

    assert status == problem["status"] == 401
    assert SECRET not in json.dumps(problem)


async def test_without_a_signing_secret_no_click_is_taken(keyless: Site) -> None:
    stamp = str(int(keyless.clock.now()))
    for given in (None, "", signature(FORM, stamp, "")):
        status, problem = await click(keyless, given=given)
        assert status == problem["status"] == 401
        assert "WATCHDOG_SLACK__SIGNING_SECRET" in problem["detail"]


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"hello", b"\xff=1", b"payload=", b"payload=%7B", b"payload=%5B%5D", b"payload=5",
        b"payload=" + b"[" * 5000, FORM + b"&" + FORM, b"a=1&" * 200,
    ],
)  # fmt: skip
async def test_a_signed_body_that_is_no_interaction_is_a_400_document(site: Site, raw: bytes) -> None:
    status, problem = await click(site, raw)

    assert status == problem["status"] == 400
    assert problem["detail"]
