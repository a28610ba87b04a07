"""Silences by the API: a letter to the service's owner, with an author, a reason and an end."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from tests.web.views import T0
from tests.web.world import API, Site, serve
from watchdog.core.model import ServiceKey
from watchdog.core.paging import Silence

STREAM = f"service/{API}"
ORDER: dict[str, Any] = {
    "service": "us-central1/barq-fleet-api",
    "criterion": "p95*",
    "for": "2h",
    "reason": "load test",
}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async def silences(key: ServiceKey) -> Sequence[Silence]:
        until = T0 + 9000
        mine = Silence(criterion="p95*", until=until, by="Ada", reason="load test", id="k3f9")
        filed = Silence(kind="warning", until=until, by="Bob", reason="known", id="policy-1")
        return (mine, filed) if key == API else ()

    async with serve(silences=silences) as made:
        yield made


async def test_a_silence_is_a_letter_with_author_reason_and_end(site: Site) -> None:
    status, answer = await site.send("/api/v1/silences", {**ORDER, "by": "ada"})
    assert (status, answer["service"], answer["repeated"]) == (202, str(API), False)
    ((kind, letter),) = await site.letters(STREAM)
    assert kind == "silence"
    assert letter == {
        "criterion": "p95*",
        "kind": "",
        "severity": "",
        "by": "ada",
        "reason": "load test",
        "until": site.clock.now() + 7200,
        "id": answer["id"],
    }


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"criterion": ""}, "Say criterion, kind or severity"),
        ({"for": None}, "a silence ends by itself"),
        ({"reason": ""}, "must know why"),
        ({"for": "2"}, "unit"),
    ],
)
async def test_a_silence_without_matcher_end_or_reason_is_422(site: Site, changes: dict[str, Any], said: str) -> None:
    status, answer = await site.send("/api/v1/silences", {**ORDER, **changes})
    assert status == 422
    assert said in str(answer)
    assert await site.letters(STREAM) == []


async def test_silences_are_listed_and_ended(site: Site) -> None:
    listed = await site.get("/api/v1/silences?service=us-central1/barq-fleet-api")
    assert [s["id"] for s in listed["silences"]] == ["k3f9", "policy-1"]
    assert listed["silences"][0]["until"].endswith("Z")
    assert len((await site.get("/api/v1/silences"))["silences"]) == 2
    service = ORDER["service"]
    assert (await site.send("/api/v1/silences", {"service": service, "end": "k3f9", "by": "ada"}))[0] == 202
    assert await site.letters(STREAM) == [("silence", {"end": True, "id": "k3f9", "by": "ada"})]
    assert (await site.send("/api/v1/silences", {"service": service, "end": "nope"}))[0] == 404
    assert (await site.send("/api/v1/silences", {"service": service, "end": "policy-1"}))[0] == 412


async def test_without_a_token_nothing_is_silenced(site: Site) -> None:
    assert (await site.send("/api/v1/silences", ORDER, token=None))[0] == 401
