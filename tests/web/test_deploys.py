"""Deploy notices: the answer is the watch that they led to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.web import views
from tests.web.world import API, Site, event

NOTICE = {"project": "barq-fleet", "region": "us-central1", "service": "barq-fleet-api"}
STREAM = f"service/{API}"


@asynccontextmanager
async def daemon(site: Site, *, opens: bool = True) -> AsyncIterator[list[dict[str, Any]]]:
    """Folds deploy letters in as the supervisor does: it opens the watch that the letter names, or (a watch of that
    revision being open) opens none. Yields the letters folded."""
    folded: list[dict[str, Any]] = []

    async def fold() -> None:
        while True:
            for letter in await site.store.letters([STREAM]):
                folded.append(dict(letter.body))
                if opens:
                    revision = letter.body.get("revision", views.NEW)
                    await site.put(views.watching(id=letter.body["watch_id"], revision=revision))
                lease = await site.store.acquire(STREAM, "daemon", ttl_s=60, now=site.clock.now())
                assert lease is not None
                await site.store.append(lease, [event("noticed")], letters_done=[letter.id])
            await asyncio.sleep(0.005)

    task = asyncio.create_task(fold())
    try:
        yield folded
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_notice_answers_201_with_the_watch_it_opened(site: Site) -> None:
    notice = NOTICE | {
        "revision": views.NEW, "version": "1.4.2", "deployer": "jane", "notes": "search",
        "previous": {views.OLD: 90, "barq-fleet-api-00040-abc": 10, "tag-only": 0}, "rollback_safe": False,
    }  # fmt: skip
    async with daemon(site) as folded:
        status, watch = await site.send("/api/v1/deploys", notice)

    assert status == 201
    assert (watch["id"], watch["state"]) == ("new1", "watching")
    effective = {views.OLD: 90, "barq-fleet-api-00040-abc": 10}
    assert folded == [notice | {"watch_id": "new1", "previous": effective}]


async def test_a_notice_for_the_watch_that_is_open_already_answers_200_with_it_and_still_passes_on_what_it_says(
    site: Site,
) -> None:
    """Discovery may have been faster, and only the notice knows that the deploy is not safe to roll back."""
    await site.put(views.watching())

    status, watch = await site.send("/api/v1/deploys", NOTICE | {"revision": views.NEW, "rollback_safe": False})

    assert (status, watch["id"]) == (200, "w7f3k2")
    [(kind, letter)] = await site.letters(STREAM)
    assert (kind, letter["rollback_safe"]) == ("deploy", False)


async def test_a_notice_without_a_revision_that_was_folded_into_the_open_watch_answers_200(site: Site) -> None:
    await site.put(views.watching())

    async with daemon(site, opens=False):
        status, watch = await site.send("/api/v1/deploys", NOTICE)

    assert (status, watch["id"]) == (200, "w7f3k2")


async def test_a_notice_for_a_newer_revision_answers_with_its_own_watch_beside_the_open_one(site: Site) -> None:
    await site.put(views.watching())

    async with daemon(site):
        status, watch = await site.send("/api/v1/deploys", NOTICE | {"revision": "barq-fleet-api-00043-new"})

    assert (status, watch["id"], watch["revision"]) == (201, "new1", "barq-fleet-api-00043-new")


async def test_without_a_daemon_the_notice_stays_in_the_inbox_and_the_answer_says_so(site: Site) -> None:
    status, answer = await site.send("/api/v1/deploys", NOTICE)

    assert (status, answer["id"], answer["state"]) == (202, "new1", "pending")
    assert [letter["watch_id"] for _, letter in await site.letters(STREAM)] == ["new1"]


async def test_a_repeated_notice_waits_for_the_watch_of_the_first(site: Site) -> None:
    """A pipeline that timed out and tries again must not be given an id that will never exist."""
    first, second = await asyncio.gather(site.send("/api/v1/deploys", NOTICE), site.send("/api/v1/deploys", NOTICE))

    assert first[1]["id"] == second[1]["id"]
    assert len(await site.letters(STREAM)) == 1


async def test_two_notices_of_one_deploy_lead_to_one_watch(site: Site) -> None:
    async with daemon(site) as folded:
        answers = [await site.send("/api/v1/deploys", NOTICE | {"revision": views.NEW}) for _ in range(2)]

    assert [status for status, _ in answers] == [201, 200]
    assert {watch["id"] for _, watch in answers} == {"new1"}
    assert len(folded) == 1


async def test_a_notice_repeated_by_its_key_long_after_answers_200_with_the_watch_it_had_led_to(site: Site) -> None:
    key = {"Idempotency-Key": "ci-run-77"}
    async with daemon(site) as folded:
        _, watch = await site.send("/api/v1/deploys", NOTICE, **key)
        await site.put(views.rolled_back(id=watch["id"]))
        site.clock.at += 7200
        status, again = await site.send("/api/v1/deploys", NOTICE, **key)

    assert (status, again["id"], again["state"]) == (200, watch["id"], "ended")
    assert len(folded) == 1


@pytest.mark.parametrize(
    "change, said",
    [
        ({"service": "somebody-elses"}, "barq-fleet/us-central1/barq-fleet-api"),
        ({"region": "asia-east1"}, "No loaded policy"),
        ({"rolback_safe": False}, "rolback_safe"),
        ({"rollback_safe": "false"}, "rollback_safe"),
        ({"previous": {"a": 60, "b": 30}}, "90 %"),
        ({"previous": {"a": 101}}, "100"),
        ({"revision": "../etc"}, "revision"),
        ({"notes": "x" * 2001}, "notes"),
        ({"project": None}, "project"),
    ],
)
async def test_a_notice_nobody_can_act_on_is_a_422_and_posts_nothing(
    site: Site, change: dict[str, Any], said: str
) -> None:
    status, problem = await site.send("/api/v1/deploys", NOTICE | change)

    assert status == 422
    assert said in problem["detail"]
    assert await site.letters(STREAM) == []
