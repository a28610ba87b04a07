"""What holds for all hooks, and Pub/Sub's: believed when proven, counted once, refused only when nobody meant it."""

import base64
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.web import views
from tests.web.cloud_audit import DEPLOYER, change_entry, pushed, ready_entry, service_v1, service_v2
from tests.web.world import API, EUROPE, TOKEN, Site, serve
from watchdog.core.model import ServiceKey
from watchdog.errors import PermanentError, StoreUnavailableError
from watchdog.store.memory import MemoryStore
from watchdog.web.hooks import BODY_BYTES

PUSHED_BY = "push@barq-fleet.iam.gserviceaccount.com"
GOOGLE = "header.claims.signature"
STREAM = f"service/{API}"
STRANGER = ServiceKey(project="barq-fleet", region="us-central1", name="somebody-elses")


async def identify(token: str) -> str:
    if token != GOOGLE:
        raise PermanentError("The token has expired")
    return PUSHED_BY


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve(identify=identify, pagerduty_secret="p", slack_secret="s") as made:
        yield made


@pytest.fixture
async def keyless() -> AsyncIterator[Site]:
    """A server that knows no identity."""
    async with serve() as made:
        yield made


# --- Pub/Sub ------------------------------------------------------------------------------------------------------


async def push(site: Site, body: Any) -> tuple[int, Any]:
    return await site.send("/hooks/pubsub", body, token=GOOGLE)


@pytest.mark.parametrize(
    "entry, who, why",
    [
        (ready_entry(API), "pubsub", "ready"),
        (ready_entry(API, ready="Unknown"), "pubsub", "ready"),
        (change_entry(API), DEPLOYER, "changed"),
        (change_entry(API, response=None), DEPLOYER, "changed"),
        (
            change_entry(
                API, methodName="google.cloud.run.v2.Services.UpdateService", response=service_v2(API),
                resourceName="projects/barq-fleet/locations/us-central1/services/barq-fleet-api",
            ), DEPLOYER, "ready",
        ),
        (
            change_entry(
                API, methodName="google.cloud.run.v2.Services.UpdateService",
                response=service_v2(API, state="CONDITION_RECONCILING"),
            ), DEPLOYER, "changed",
        ),
        (
            change_entry(
                API, methodName="google.cloud.serverless.internal.InternalServices.ReplaceInternalService"
            ), DEPLOYER, "changed",
        ),
    ],
)  # fmt: skip
async def test_a_change_of_a_kept_service_makes_its_keeper_look(
    site: Site, entry: dict[str, Any], who: str, why: str
) -> None:
    status, answer = await push(site, pushed(entry))

    assert (status, answer["service"], answer["repeated"]) == (202, str(API), False)
    assert await site.letters(STREAM) == [("look", {"by": who, "reason": why})]


async def test_the_place_is_read_from_the_resource_where_there_are_no_labels(site: Site) -> None:
    name = "projects/barq-fleet/locations/us-central1/services/barq-fleet-api"
    for entry in (change_entry(API, resourceName=name, response=None), ready_entry(API)):
        entry["resource"] = {"type": "audited_resource"}
        assert (await push(site, pushed(entry)))[0] == 202

    assert len(await site.letters(STREAM)) == 2


async def test_each_region_is_a_service_of_its_own(site: Site) -> None:
    await push(site, pushed(ready_entry(EUROPE)))

    assert await site.letters(STREAM) == []
    assert len(await site.letters(f"service/{EUROPE}")) == 1


@pytest.mark.parametrize("make", [ready_entry, change_entry])
async def test_what_is_delivered_again_counts_once(site: Site, make: Any) -> None:
    answers = [await push(site, pushed(make(API), message_id=str(n))) for n in range(3)]
    site.clock.at += 7200
    answers.append(await push(site, pushed(make(API, insert_id="another"))))

    assert [(status, answer["repeated"]) for status, answer in answers] == [
        (202, False), (202, True), (202, True), (202, True)
    ]  # fmt: skip
    assert len(await site.letters(STREAM)) == 1


async def test_entries_without_a_generation_are_told_apart_by_themselves(site: Site) -> None:
    for insert_id in ("a", "b", "a"):
        await push(site, pushed(change_entry(API, insert_id=insert_id, response=None)))

    assert len(await site.letters(STREAM)) == 2


async def test_the_change_and_its_readiness_are_both_looked_at(site: Site) -> None:
    """At the first the new revision does not serve yet: to take the second for a repetition would miss the deploy."""
    for entry in (change_entry(API), ready_entry(API), ready_entry(API, generation=8)):
        await push(site, pushed(entry))

    assert [letter["reason"] for _, letter in await site.letters(STREAM)] == ["changed", "ready", "ready"]


def not_ours(**changes: Any) -> dict[str, Any]:
    entry = ready_entry(API)
    entry["protoPayload"] |= changes
    return entry


NOTHING_TO_DO = {
    "another service": ready_entry(STRANGER),
    "another region": ready_entry(ServiceKey(project="barq-fleet", region="asia-east1", name="barq-fleet-api")),
    "another project": ready_entry(ServiceKey(project="other", region="us-central1", name="barq-fleet-api")),
    "our own write": ready_entry(API, client="deploy-watchdog"),
    "our own request": change_entry(API, response=service_v1(API, client="deploy-watchdog")),
    "our own v2 write": not_ours(response=service_v2(API, client="deploy-watchdog")),
    "not ready": not_ours(
        status={"message": "Ready condition status changed to False for Service barq-fleet-api."},
        response=service_v1(API, ready="False"),
    ),
    "ready as it was before": ready_entry(
        API, status={"observedGeneration": 6, "conditions": [{"type": "Ready", "status": "True"}]}
    ),
    "a revision": not_ours(
        resourceName=f"namespaces/barq-fleet/revisions/{views.NEW}", response={"kind": "Revision"},
        status={"message": f"Ready condition status changed to True for Revision {views.NEW}."},
    ),
    "a refused request": change_entry(API, status={"code": 7, "message": "PERMISSION_DENIED"}),
    "a permission": change_entry(API, methodName="google.cloud.run.v1.Services.SetIamPolicy", response={}),
    "a removal": change_entry(API, methodName="google.cloud.run.v1.Services.DeleteService", response={}),
    "another API": not_ours(serviceName="storage.googleapis.com"),
    "a log line": {"textPayload": "hello", "insertId": "1"},
    "nothing at all": {},
    "odd types": {
        "protoPayload": {
            "serviceName": "run.googleapis.com", "resourceName": ["x"], "status": 5, "response": [], "methodName": {}
        },
        "resource": "cloud_run_revision", "logName": 7,
    },
    "odd types in the right place": not_ours(
        response={"metadata": [], "status": {"conditions": "Ready"}, "terminalCondition": 1}, status=[],
        authenticationInfo="me", methodName=None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", NOTHING_TO_DO)
async def test_what_is_no_change_of_ours_is_taken_and_left(site: Site, what: str) -> None:
    """A refusal would be delivered again for a week."""
    status, answer = await push(site, pushed(NOTHING_TO_DO[what]))

    assert (status, answer) == (204, None)
    for key in (API, EUROPE, STRANGER):
        assert await site.letters(f"service/{key}") == []


async def test_a_message_of_attributes_alone_is_taken_and_left(site: Site) -> None:
    body = {"message": {"attributes": {"test": "yes"}, "messageId": "1"}, "subscription": "s"}

    assert await push(site, body) == (204, None)


def encoded(data: bytes) -> dict[str, Any]:
    return {"message": {"data": base64.b64encode(data).decode(), "messageId": "1"}, "subscription": "s"}


@pytest.mark.parametrize(
    "body, said",
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ("[" * 5000, "not JSON"),
        ("[]", "body"),
        ("null", "body"),
        ({}, "message"),
        ({"message": "hello"}, "message"),
        ({"message": {}}, "neither data nor attributes"),
        ({"message": {"data": 5}}, "message.data"),
        ({"message": {"data": "%%%"}}, "message.data"),
        ({"message": {"data": "aGVsbG8"}}, "message.data"),
        ({"message": {"data": "ü"}}, "message.data"),
        (encoded(b"hello"), "LogEntry"),
        (encoded(b"\xff"), "LogEntry"),
        (encoded(b"[]"), "JSON object"),
        (encoded(b"[" * 5000), "LogEntry"),
    ],
)
async def test_a_push_that_nobody_meant_is_a_400_document(site: Site, body: Any, said: str) -> None:
    status, problem = await push(site, body)

    assert status == problem["status"] == 400
    assert said in problem["detail"]


@pytest.mark.parametrize("given", [None, "wrong", TOKEN, "a.b.c"])
async def test_a_push_needs_a_google_identity_and_the_api_token_is_none(site: Site, given: str | None) -> None:
    status, problem = await site.send("/hooks/pubsub", pushed(ready_entry(API)), token=given)

    assert status == problem["status"] == 401
    assert await site.letters(STREAM) == []


async def test_a_push_is_refused_where_no_identity_is_configured(keyless: Site) -> None:
    for given in (None, TOKEN, GOOGLE):
        status, problem = await keyless.send("/hooks/pubsub", pushed(ready_entry(API)), token=given)
        assert status == problem["status"] == 401
        assert "WATCHDOG_OIDC__AUDIENCE" in problem["detail"]


async def test_the_largest_entry_of_cloud_logging_fits(site: Site) -> None:
    entry = ready_entry(API) | {"labels": {"padding": "x" * 250_000}}

    assert (await push(site, pushed(entry)))[0] == 202


# --- all of them --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, headers",
    [
        ("/hooks/pubsub", {"Authorization": f"Bearer {GOOGLE}"}),
        ("/hooks/pagerduty", {"X-PagerDuty-Signature": "v1=00"}),
        ("/hooks/slack", {"X-Slack-Signature": "v0=00", "X-Slack-Request-Timestamp": "1790000425"}),
    ],
)
async def test_a_body_over_1_mib_is_413(site: Site, path: str, headers: dict[str, str]) -> None:
    body = io.BytesIO(b"x" * (BODY_BYTES + 1))

    async with site.http.post(site.url + path, data=body, headers=headers) as answer:
        problem = await answer.json(content_type="application/problem+json")

    assert answer.status == problem["status"] == 413
    assert "1024 KiB" in problem["detail"]


@pytest.mark.parametrize("path", ["/hooks/pubsub", "/hooks/pagerduty", "/hooks/slack"])
async def test_the_api_token_opens_no_hook(site: Site, path: str) -> None:
    status, problem = await site.send(path, {})

    assert status == problem["status"] == 401


async def test_a_store_that_is_away_is_a_503_so_that_the_sender_tries_again() -> None:
    async with serve(store=AwayStore(), identify=identify) as site:
        status, problem = await push(site, pushed(ready_entry(API)))

    assert status == problem["status"] == 503


class AwayStore(MemoryStore):
    """A store that does not answer."""

    async def post(self, stream: str, *, key: str, kind: str, body: Any, now: float) -> bool:
        raise StoreUnavailableError("the database timed out")
