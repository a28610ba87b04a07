"""An acknowledgement in PagerDuty counts here too, when PagerDuty has signed it; every other event changes nothing."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.web import views
from tests.web.world import Site, serve

SECRET = "pagerduty-signs-with-this"
WATCH = "watch/w7f3k2"
DEDUP_KEY = "watchdog/us-central1/barq-fleet-api/w7f3k2/1"
INCIDENT = {
    "key": DEDUP_KEY, "title": "health_check failing", "severity": "critical", "opened_at": views.at(30),
    "acknowledged_at": None, "acknowledged_by": None, "resolved_at": None,
}  # fmt: skip


def webhook(
    event_type: str = "incident.acknowledged", *, event: str = "01DEN4HPBQAAAG05V5QQYBRZMF", **changes: Any
) -> Any:
    """A V3 webhook as PagerDuty's documentation shows it; `changes` are of `event.data`."""
    incident = {
        "id": "PGR0VU2", "type": "incident", "self": "https://api.pagerduty.com/incidents/PGR0VU2",
        "html_url": "https://acme.pagerduty.com/incidents/PGR0VU2", "number": 2, "status": "acknowledged",
        "incident_key": DEDUP_KEY, "created_at": "2026-09-21T14:14:00Z", "title": "health_check failing",
        "service": {"id": "PF9KMXH", "summary": "API Service", "type": "service_reference"},
        "assignees": [{"id": "PTUXL6G", "summary": "User 123", "type": "user_reference"}],
        "urgency": "high", "priority": None, "conference_bridge": None, "resolve_reason": None,
    }  # fmt: skip
    agent = {
        "html_url": "https://acme.pagerduty.com/users/PLH1HKV", "id": "PLH1HKV",
        "self": "https://api.pagerduty.com/users/PLH1HKV", "summary": "Tenex Engineer", "type": "user_reference",
    }  # fmt: skip
    return {
        "event": {
            "id": event, "event_type": event_type, "resource_type": "incident",
            "occurred_at": "2026-09-21T14:20:22.169Z", "agent": agent, "client": None, "data": incident | changes,
        }
    }  # fmt: skip


def signature(raw: bytes, secret: str = SECRET) -> str:
    return "v1=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()


async def page(site: Site, body: Any, given: str | None = None) -> tuple[int, Any]:
    """What PagerDuty posts, signed as it signs unless `given` says otherwise."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"X-PagerDuty-Signature": signature(raw) if given is None else given, "X-Webhook-Id": "wh-1"}
    return await site.send("/hooks/pagerduty", raw, token=None, **headers)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve(pagerduty_secret=SECRET) as made:
        yield made


@pytest.fixture
async def keyless() -> AsyncIterator[Site]:
    """A server that was given no secret."""
    async with serve() as made:
        await made.put(views.watching(incident=INCIDENT))
        yield made


@pytest.fixture
async def paged(site: Site) -> Site:
    """An open watch with an incident that nobody has acknowledged."""
    await site.put(views.watching(incident=INCIDENT))
    return site


async def test_an_acknowledgement_in_pagerduty_counts_here_by_the_name_it_has_there(paged: Site) -> None:
    status, answer = await page(paged, webhook())

    assert (status, answer["watch"], answer["repeated"]) == (202, "w7f3k2", False)
    said = {"by": "Tenex Engineer", "reason": "acknowledged in PagerDuty", "said_at": 1790000422.169}
    assert await paged.letters(WATCH) == [("operator", {"verb": "ack", **said})]


@pytest.mark.parametrize(
    "event_type, verb, name",
    [
        ("incident.unacknowledged", "unack", None),
        ("incident.resolved", "resolve", None),
        ("incident.reassigned", "assign", "User 123"),
        ("incident.delegated", "assign", "User 123"),
        ("incident.escalated", "assign", "User 123"),
    ],
)
async def test_what_people_do_there_counts_here(paged: Site, event_type: str, verb: str, name: str | None) -> None:
    assert (await page(paged, webhook(event_type)))[0] == 202
    ((_, letter),) = await paged.letters(WATCH)
    assert (letter["verb"], letter.get("name")) == (verb, name)
    assert letter["said_at"] == 1790000422.169


@pytest.mark.parametrize("event_type", ["incident.acknowledged", "incident.resolved", "incident.escalated"])
async def test_the_echo_of_our_own_resolve_changes_nothing(site: Site, event_type: str) -> None:
    await site.put(views.watching(incident={**INCIDENT, "resolved_at": views.at(90)}))
    assert (await page(site, webhook(event_type)))[0] == 204


async def test_an_event_that_is_delivered_again_counts_once_another_counts_anew(paged: Site) -> None:
    first, again = await page(paged, webhook()), await page(paged, webhook())
    paged.clock.at += 7200
    late = await page(paged, webhook())
    other = await page(paged, webhook(event="01DEN4HPBQAAAG05V5QQYBRZMG"))

    assert [answer["repeated"] for _, answer in (first, again, late, other)] == [False, True, True, False]
    assert len(await paged.letters(WATCH)) == 2


@pytest.mark.parametrize("level", [1, 2, 4])
async def test_the_page_of_every_level_of_the_ladder_leads_to_the_watch(paged: Site, level: int) -> None:
    body = webhook(incident_key=f"watchdog/us-central1/barq-fleet-api/w7f3k2/{level}")

    assert (await page(paged, body))[0] == 202


async def test_where_the_incident_has_a_key_of_its_own_its_alerts_have_ours(paged: Site) -> None:
    alerts = [{"alert_key": None}, {"alert_key": "other"}, {"alert_key": DEDUP_KEY}]

    assert (await page(paged, webhook(incident_key="d3640fbd41094207a1c11e58e46b1662", alerts=alerts)))[0] == 202


@pytest.mark.parametrize(
    "agent, by",
    [
        (None, "PagerDuty"),
        ({"summary": None}, "PagerDuty"),
        ({"summary": ""}, "PagerDuty"),
        ({"summary": "Ann\n\x00 Lee "}, "Ann Lee"),
        ({"summary": "x" * 900}, "x" * 200),
    ],
)
async def test_somebody_is_always_named(paged: Site, agent: Any, by: str) -> None:
    body = webhook()
    body["event"]["agent"] = agent
    await page(paged, body)

    assert [letter["by"] for _, letter in await paged.letters(WATCH)] == [by]


def others() -> Iterator[Any]:
    for event_type in ("incident.triggered", "incident.annotated", "incident.priority_updated"):
        yield webhook(event_type)
    ping = {"id": "01D", "event_type": "pagey.ping", "resource_type": "pagey", "agent": None, "client": None,
            "occurred_at": "2026-09-21T14:20:22.169Z", "data": {"message": "Hello from your friend Pagey!", "type": "ping"}}  # fmt: skip  # noqa: E501
    yield {"event": ping}
    yield {"event": ping | {"data": None}}
    yield webhook(incident_key="somebody-elses-monitor")
    yield webhook(incident_key=None)
    yield webhook(incident_key="watchdog/us-central1/barq-fleet-api/unknown/1")
    yield webhook(incident_key="watchdog/europe-west1/barq-fleet-api/w7f3k2/1")
    yield webhook(incident_key="watchdog/us-central1/barq-worker/w7f3k2/1")
    yield webhook(incident_key=f"{DEDUP_KEY}/more")


@pytest.mark.parametrize("body", list(others()))
async def test_every_other_event_is_noted_and_changes_nothing(paged: Site, body: Any) -> None:
    with capture_logs() as logs:
        assert await page(paged, body) == (204, None)

    assert [line["event_type"] for line in logs] == [body["event"]["event_type"]]
    assert await paged.letters(WATCH) == []


async def test_the_echo_of_our_own_acknowledgement_is_left(site: Site) -> None:
    await site.put(views.watching(incident=INCIDENT | {"acknowledged_at": views.at(60), "acknowledged_by": "jane"}))

    assert await page(site, webhook()) == (204, None)
    assert await site.letters(WATCH) == []


async def test_an_ended_watch_takes_no_acknowledgement(site: Site) -> None:
    await site.put(views.rolled_back(incident=INCIDENT, id="w7f3k2"))

    assert await page(site, webhook()) == (204, None)
    assert await site.letters(WATCH) == []


RAW = json.dumps(webhook()).encode()


async def test_while_a_secret_is_changed_one_of_two_signatures_is_enough(paged: Site) -> None:
    given = f"{signature(RAW, 'the-old-one')}, {signature(RAW)}"

    assert (await page(paged, RAW, given))[0] == 202


@pytest.mark.parametrize(
    "given",
    [
        "",
        "v1=",
        ",",
        signature(RAW, "another secret"),
        signature(RAW + b" "),
        signature(RAW).removeprefix("v1="),
        signature(RAW).replace("v1=", "v2="),
        signature(RAW)[:-1],
        "v1=ü",
    ],
)
async def test_a_body_that_pagerduty_did_not_sign_is_401(paged: Site, given: str) -> None:
    status, problem = await page(paged, RAW, given)

    assert status == problem["status"] == 401
    assert SECRET not in json.dumps(problem)
    assert await paged.letters(WATCH) == []


async def test_without_a_secret_no_webhook_is_taken_not_even_one_signed_with_nothing(keyless: Site) -> None:
    for given in ("", signature(RAW, ""), signature(RAW)):
        status, problem = await page(keyless, RAW, given)
        assert status == problem["status"] == 401
        assert "WATCHDOG_PAGERDUTY__WEBHOOK_SECRET" in problem["detail"]
    assert await keyless.letters(WATCH) == []


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff", b"[" * 5000, b"[]", b"null", {}, {"event": None}, {"event": {}},
        {"event": {"event_type": "incident.acknowledged"}}, {"event": {"id": "1"}},
        {"event": {"id": 5, "event_type": "incident.acknowledged"}},
        {"event": {"id": "", "event_type": "incident.acknowledged"}},
        {"event": {"id": "1", "event_type": "incident.acknowledged", "data": []}},
        {"event": {"id": "1", "event_type": "incident.acknowledged", "data": {"incident_key": 5}}},
        {"event": {"id": "1", "event_type": "incident.acknowledged", "data": {"alerts": [5]}}},
        {"event": {"id": "1", "event_type": "incident.acknowledged", "agent": "me"}},
    ],
)  # fmt: skip
async def test_a_signed_body_that_is_no_webhook_is_a_400_document(paged: Site, body: Any) -> None:
    status, problem = await page(paged, body)

    assert status == problem["status"] == 400
    assert problem["detail"]


async def test_what_is_said_of_the_one_incident_counts_in_each_region_of_the_release(paged: Site) -> None:
    east = {"id": "wEast", "region": "us-east1", "release": "w7f3k2"}
    await paged.put(views.watching(**east, incident=INCIDENT))
    await paged.put(views.watching(**{**east, "id": "wCalm", "region": "us-west1"}))
    await paged.put(views.watching(**{**east, "id": "wOther", "release": "w0000"}, incident=INCIDENT))

    assert (await page(paged, webhook()))[0] == 202
    assert (await page(paged, webhook()))[0] == 202
    for stream, count in ((WATCH, 1), ("watch/wEast", 1), ("watch/wCalm", 0), ("watch/wOther", 0)):
        assert len(await paged.letters(stream)) == count, stream
