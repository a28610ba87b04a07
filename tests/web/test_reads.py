"""What can be read over HTTP."""

from dataclasses import replace
from typing import Any

import pytest
from yarl import URL

from tests.web import views
from tests.web.world import Site, event


async def test_the_list_is_newest_first_with_the_promised_fields_and_without_the_long_parts(site: Site) -> None:
    await site.put(views.passed())
    await site.put(views.watching())

    listed = (await site.get("/api/v1/watches"))["watches"]

    assert [w["id"] for w in listed] == ["w7f3k2", "w2b8x0"]
    promised = {"id", "service", "region", "revision", "previous", "state", "window", "opened_at", "outcome", "reason"}
    assert promised <= listed[0].keys()
    assert not {"criteria", "timeline", "probes", "decisions", "windows", "notes"} & listed[0].keys()


async def test_the_list_can_be_narrowed_to_open_watches_a_service_and_a_number(site: Site) -> None:
    await site.put(views.passed())
    await site.put(views.watching())
    await site.put(views.watching(id="w-worker", service="barq-worker"))

    async def ids(query: str) -> set[str]:
        return {w["id"] for w in (await site.get(f"/api/v1/watches?{query}"))["watches"]}

    assert await ids("open=true") == {"w7f3k2", "w-worker"}
    assert await ids("service=barq-worker") == {"w-worker"}
    assert len(await ids("limit=1")) == 1


@pytest.mark.parametrize("reference", ["w7f3k2", "barq-fleet-api", "us-central1%2Fbarq-fleet-api"])
async def test_a_watch_is_found_by_id_and_by_the_service_whose_one_open_watch_it_is(site: Site, reference: str) -> None:
    view = views.watching()
    await site.put(view)
    await site.put(views.passed())

    assert await site.get(f"/api/v1/watches/{reference}") == view


async def test_a_service_with_several_open_watches_is_ambiguous_and_the_candidates_are_named(site: Site) -> None:
    await site.put(views.watching())
    await site.put(views.watching(id="w-eu", region="europe-west1"))

    async with site.http.get(f"{site.url}/api/v1/watches/barq-fleet-api") as answer:
        problem = await answer.json(content_type="application/problem+json")

    assert answer.status == 409
    assert {c["id"] for c in problem["candidates"]} == {"w7f3k2", "w-eu"}
    assert "europe-west1/barq-fleet-api" in problem["detail"]
    assert (await site.get("/api/v1/watches/europe-west1%2Fbarq-fleet-api"))["id"] == "w-eu"


async def test_an_unknown_watch_says_which_one_was_last(site: Site) -> None:
    await site.put(views.passed())

    async with site.http.get(f"{site.url}/api/v1/watches/barq-fleet-api") as answer:
        problem = await answer.json(content_type="application/problem+json")

    assert answer.status == 404
    assert "w2b8x0" in problem["detail"]


async def test_the_journal_is_paged_without_losing_or_repeating_a_row(site: Site) -> None:
    await site.put(views.watching(), [event("ticked", i, number=i) for i in range(7)])

    seen: list[dict[str, Any]] = []
    path = "/api/v1/watches/w7f3k2/events?limit=3"
    while path:
        async with site.http.get(site.url + path) as answer:
            page = await answer.json()
            seen += page
            path = URL(answer.links["next"]["url"]).path_qs if "next" in answer.links else ""

    assert [row["body"]["number"] for row in seen] == list(range(7))
    assert seen[0] | {"body": {}} == {
        "seq": 1, "at": views.at(0), "at_unix_s": views.T0, "seen_at": views.at(0),
        "kind": "ticked", "schema": 1, "body": {}, "late": False,
    }  # fmt: skip


@pytest.mark.parametrize("query", ["after=x", "limit=-1", "after=%C2%B2", "limit=999999999"])
async def test_a_bad_number_in_the_query_is_a_422_that_says_what_is_meant(site: Site, query: str) -> None:
    await site.put(views.watching())

    async with site.http.get(f"{site.url}/api/v1/watches/w7f3k2/events?{query}") as answer:
        problem = await answer.json(content_type="application/problem+json")

    assert answer.status == 422
    assert "whole number" in problem["detail"]


async def test_the_report_is_markdown_and_readable_in_a_browser_and_json_on_request(site: Site) -> None:
    await site.put(views.rolled_back(), [event("ticked")])
    url = f"{site.url}/api/v1/watches/w9q1c4/report"

    async with site.http.get(url) as answer:
        assert answer.content_type == "text/markdown"
        assert (await answer.text()).startswith("# Incident report: barq-fleet-api")
    async with site.http.get(url, headers={"Accept": "text/html"}) as answer:
        assert answer.content_type == "text/plain"
    parts = await site.get("/api/v1/watches/w9q1c4/report?format=json")
    assert parts["watch"]["id"] == "w9q1c4"
    assert [e["kind"] for e in parts["events"]] == ["ticked"]
    async with site.http.get(url + "?format=pdf") as answer:
        assert answer.status == 422


async def test_the_gate_refuses_a_known_bad_image_with_the_reason_and_allows_the_rest(site: Site) -> None:
    site.refusals["gcr.io/barq/api@sha256:bad"] = "It was rolled back on 2026-09-21."
    path = "/api/v1/gate?service=barq-fleet-api&region=us-central1&image="

    assert await site.get(path + "gcr.io/barq/api@sha256:bad") == {
        "allowed": False, "reason": "It was rolled back on 2026-09-21.",
    }  # fmt: skip
    assert (await site.get(path + "gcr.io/barq/api@sha256:good"))["allowed"] is True


@pytest.mark.parametrize(
    "query, status, said",
    [
        ("service=barq-fleet-api&image=x", 409, "europe-west1"),
        ("service=nobody&image=x", 404, "barq-worker"),
        ("service=barq-worker", 422, "image"),
        ("region=us-central1", 422, "service and image"),
    ],
)
async def test_a_gate_question_that_names_no_one_service_is_refused_with_help(
    site: Site, query: str, status: int, said: str
) -> None:
    async with site.http.get(f"{site.url}/api/v1/gate?{query}") as answer:
        problem = await answer.json(content_type="application/problem+json")

    assert answer.status == status
    assert said in problem["detail"]


async def test_the_gate_of_a_rollout_answers_from_what_was_seen_since_its_last_step(site: Site) -> None:
    path = "/api/v1/gate?service=barq-fleet-api&region=us-central1&promote=true"
    nobody = await site.get(path)
    assert (nobody["allowed"], "has been watched" in nobody["reason"]) == (False, True)

    seen = {
        "since": views.at(0), "share": 5, "seconds": 420.0, "requests": 2100.0, "detectable": 0.031,
        "feed": "request_log", "coverage": 0.98, "against": "", "warnings": [],
    }  # fmt: skip
    await site.put(views.watching(promotion=seen, coverage_floor=0.8))
    answer = await site.get(path)
    assert answer["allowed"] is True, answer
    assert (answer["watch"], answer["evidence"]["detectable"]) == ("w7f3k2", 0.031)
    assert "a fault above 3.1 % would have shown in 2100 events" in answer["reason"]

    stricter = await site.get(path + "&detect=1%25")
    assert stricter["allowed"] is False
    site.refusals["img:bad"] = "It was rolled back."
    both = await site.get(path + "&image=img:bad")
    assert both == {"allowed": False, "reason": "It was rolled back."}
    for wrong in ("0.1", "0%25", "lots"):
        async with site.http.get(f"{site.url}{path}&detect={wrong}") as refused:
            assert refused.status == 422


async def test_liveness_and_readiness_say_how_the_watchdog_itself_is(site: Site) -> None:
    assert (await site.get("/livez"))["status"] == "alive"
    assert (await site.get("/readyz"))["status"] == "ready"

    site.readiness = (False, "The store does not answer.")

    assert (await site.get("/livez"))["status"] == "alive"
    async with site.http.get(f"{site.url}/readyz") as answer:
        assert answer.status == 503
        assert (await answer.json(content_type="application/problem+json"))["detail"] == "The store does not answer."


async def test_metrics_are_served_as_they_are(site: Site) -> None:
    site.metrics.set_watch(views.watching())

    async with site.http.get(f"{site.url}/metrics") as answer:
        text = await answer.text()
        assert answer.content_type == "text/plain"

    assert 'watchdog_watch_state{state="watching",watch="w7f3k2"} 1.0' in text


async def test_a_row_of_the_read_model_is_answered_even_when_its_view_is_of_an_older_version(site: Site) -> None:
    """Pages and lists take nothing but the identity of a watch for granted."""
    kept = ("id", "project", "region", "service", "revision", "state", "outcome", "opened_at")
    old = {name: views.watching()[name] for name in kept}
    lease = await site.store.acquire("watch/old", "test", ttl_s=60, now=0)
    assert lease is not None
    await site.store.append(lease, [], watch=replace(views.row(views.watching()), id="old", view=old | {"id": "old"}))

    assert (await site.get("/api/v1/watches"))["watches"][0]["id"] == "old"
    for page in ("/", "/watches/old"):
        async with site.http.get(site.url + page) as answer:
            assert answer.status == 200, await answer.text()
    async with site.http.get(f"{site.url}/api/v1/watches/old/report") as answer:
        assert answer.status == 200
