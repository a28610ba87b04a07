"""Orders to a watch: each becomes one letter in its owner's inbox, and nothing else happens here."""

from typing import Any

import pytest

from tests.web import views
from tests.web.world import EUROPE, Site
from watchdog.errors import PermanentError, TemporaryError

WATCH = "/api/v1/watches/w7f3k2"
STREAM = "watch/w7f3k2"


@pytest.mark.parametrize(
    "path, body, kind, letter",
    [
        ("signals", {"signal": "database_corruption", "reason": "rows vanish", "by": "omar"}, "signal",
         {"signal": "database_corruption", "reason": "rows vanish", "by": "omar"}),
        ("rollback", {"reason": "users complain"}, "operator",
         {"verb": "rollback", "reason": "users complain", "by": "api"}),
        ("ack", None, "operator", {"verb": "ack", "reason": "", "by": "api"}),
        ("hold", {"by": "jane"}, "operator", {"verb": "hold", "reason": "", "by": "jane"}),
        ("pause", {}, "operator", {"verb": "pause", "reason": "", "by": "api"}),
        ("resume", {}, "operator", {"verb": "resume", "reason": "", "by": "api"}),
        ("extend", {"for": "1h30m"}, "operator", {"verb": "extend", "reason": "", "by": "api", "for_s": 5400.0}),
        ("finish", {"reason": "good"}, "operator", {"verb": "finish", "reason": "good", "by": "api"}),
        ("signoffs", {"name": "user_feedback"}, "operator",
         {"verb": "signoff", "reason": "", "by": "api", "name": "user_feedback"}),
    ],
)  # fmt: skip
async def test_every_verb_answers_202_and_leaves_one_letter(
    site: Site, path: str, body: Any, kind: str, letter: dict[str, Any]
) -> None:
    await site.put(views.watching())

    status, answer = await site.send(f"{WATCH}/{path}", body)

    assert (status, answer["watch"], answer["repeated"]) == (202, "w7f3k2", False)
    assert await site.letters(STREAM) == [(kind, letter)]


async def test_a_verb_finds_its_watch_by_the_service(site: Site) -> None:
    await site.put(views.watching())

    status, _ = await site.send("/api/v1/watches/us-central1%2Fbarq-fleet-api/ack")

    assert status == 202
    assert await site.letters(STREAM) == [("operator", {"verb": "ack", "reason": "", "by": "api"})]


@pytest.mark.parametrize(
    "path, body, where",
    [
        ("signals", {"signal": "Users cry!"}, "#/signal"),
        ("signals", {}, "#/signal"),
        ("rollback", {}, "#/reason"),
        ("rollback", {"reason": "  "}, "#/reason"),
        ("ack", {"resaon": "typo"}, "#/resaon"),
        ("ack", {"reason": 5}, "#/reason"),
        ("ack", {"reason": "x" * 501}, "#/reason"),
        ("ack", [], "#"),
        ("extend", {}, "#/for"),
        ("extend", {"for": 7200}, "#/for"),
        ("extend", {"for": "2 hours ago"}, "#/for"),
        ("extend", {"for": "0s"}, "#/for"),
        ("extend", {"for": "8d"}, "#/for"),
        ("signoffs", {"name": ""}, "#/name"),
    ],
)
async def test_a_bad_body_is_a_422_that_points_at_the_mistake_and_posts_nothing(
    site: Site, path: str, body: Any, where: str
) -> None:
    await site.put(views.watching())

    status, problem = await site.send(f"{WATCH}/{path}", body)

    assert status == 422
    assert where in [e["pointer"] for e in problem["errors"]]
    assert await site.letters(STREAM) == []


async def test_the_same_order_within_seconds_counts_once_and_later_counts_again(site: Site) -> None:
    await site.put(views.watching())

    first = await site.send(f"{WATCH}/extend", {"for": "2h"})
    again = await site.send(f"{WATCH}/extend", {"for": "2h"})
    other = await site.send(f"{WATCH}/extend", {"for": "3h"})
    site.clock.at += 60
    later = await site.send(f"{WATCH}/extend", {"for": "2h"})

    assert [a[1]["repeated"] for a in (first, again, other, later)] == [False, True, False, False]
    assert [body["for_s"] for _, body in await site.letters(STREAM)] == [7200.0, 10800.0, 7200.0]


async def test_an_idempotency_key_decides_what_is_the_same_and_belongs_to_one_watch_and_kind(site: Site) -> None:
    await site.put(views.watching())
    await site.put(views.watching(id="w-eu", region="europe-west1"))
    key = {"Idempotency-Key": "ci-run-77"}

    assert (await site.send(f"{WATCH}/ack", {"reason": "one"}, **key))[1]["repeated"] is False
    site.clock.at += 3600
    assert (await site.send(f"{WATCH}/ack", {"reason": "one"}, **key))[1]["repeated"] is True
    assert (await site.send("/api/v1/watches/w-eu/ack", {}, **key))[1]["repeated"] is False
    assert (await site.send(f"{WATCH}/signals", {"signal": "finding"}, **key))[1]["repeated"] is False
    assert (await site.send(f"{WATCH}/ack", {}, **{"Idempotency-Key": "x" * 201}))[0] == 422


async def test_what_can_no_longer_come_true_is_refused_with_412(site: Site) -> None:
    await site.put(views.rolled_back(incident=None))
    await site.put(views.watching(rollback={"state": "settling"}))

    ended = await site.send("/api/v1/watches/w9q1c4/rollback", {"reason": "again"})
    signalled = await site.send("/api/v1/watches/w9q1c4/signals", {"signal": "finding"})
    twice = await site.send(f"{WATCH}/rollback", {"reason": "faster"})

    assert [a[0] for a in (ended, signalled, twice)] == [412, 412, 412]
    assert "has ended (rolled_back)" in ended[1]["detail"]
    assert "under way" in twice[1]["detail"]
    assert await site.letters("watch/w9q1c4") == []


async def test_an_ended_watch_takes_no_acknowledgement(site: Site) -> None:
    """Nobody would fold it in: a 202 must be a promise."""
    await site.put(views.rolled_back())

    assert (await site.send("/api/v1/watches/w9q1c4/ack"))[0] == 412


async def test_a_rollback_that_was_only_observed_may_be_ordered_by_a_person(site: Site) -> None:
    await site.put(views.watching(mode="observe", rollback={"state": "observed"}))

    assert (await site.send(f"{WATCH}/rollback", {"reason": "I have looked"}))[0] == 202


@pytest.mark.parametrize("body, on_next", [(None, False), ({"on_next": True}, True)])
async def test_a_release_goes_to_the_service(site: Site, body: Any, on_next: bool) -> None:  # noqa: FBT001
    status, answer = await site.send("/api/v1/services/europe-west1%2Fbarq-fleet-api/release", body)

    assert (status, answer["service"]) == (202, str(EUROPE))
    assert await site.letters(f"service/{EUROPE}") == [("release", {"on_next": on_next, "by": "api", "reason": ""})]


async def test_a_release_onto_a_bad_revision_is_412_while_waiting_for_the_next_is_possible(site: Site) -> None:
    site.refusals[str(EUROPE)] = "barq-fleet-api-00042-kim is the latest ready revision and known-bad."
    path = "/api/v1/services/europe-west1%2Fbarq-fleet-api/release"

    status, problem = await site.send(path)

    assert (status, problem["detail"]) == (412, site.refusals[str(EUROPE)])
    assert await site.letters(f"service/{EUROPE}") == []
    assert (await site.send(path, {"on_next": True}))[0] == 202


@pytest.mark.parametrize(
    "fault, expected",
    [(PermanentError("Cloud Run answered 403", status=403), 502), (TemporaryError("Cloud Run answered 429"), 503)],
)
async def test_a_release_that_cloud_run_will_not_let_us_judge_is_refused_with_its_answer(
    site: Site, fault: Exception, expected: int
) -> None:
    site.cloud_run_fault = fault

    status, problem = await site.send("/api/v1/services/barq-worker/release")

    assert status == expected
    assert str(fault) in problem["detail"]


async def test_a_release_of_an_unknown_or_ambiguous_service_names_the_known_ones(site: Site) -> None:
    unknown = await site.send("/api/v1/services/nobody/release")
    ambiguous = await site.send("/api/v1/services/barq-fleet-api/release")

    assert unknown[0] == 404
    assert "barq-fleet/us-central1/barq-worker" in unknown[1]["detail"]
    assert ambiguous[0] == 409
    assert len(ambiguous[1]["candidates"]) == 2


# --- marks --------------------------------------------------------------------------------------------------------

SERVICE = "service/barq-fleet/us-central1/barq-fleet-api"


@pytest.mark.parametrize("name", ["w9q1c4", "barq-fleet-api"], ids=["by its id", "the service's last one"])
async def test_a_mark_is_a_letter_to_whoever_keeps_the_service(site: Site, name: str) -> None:
    await site.put(views.rolled_back(id="w9q1c4"))

    status, answer = await site.send(f"/api/v1/watches/{name}/mark", {"mark": "wrong", "reason": "was the database"})

    assert (status, answer["watch"], answer["repeated"]) == (202, "w9q1c4", False)
    letter = {"watch": "w9q1c4", "mark": "wrong", "by": "api", "reason": "was the database"}
    assert await site.letters(SERVICE) == [("mark", letter)]
    assert await site.letters("watch/w9q1c4") == []


@pytest.mark.parametrize(
    "view, body, status, told",
    [
        (views.watching(), {"mark": "right"}, 412, "has not ended yet"),
        (views.passed(), {"mark": "late"}, 412, "nothing was done too late"),
        (views.passed(), {"mark": "great"}, 422, "'right', 'wrong', 'late' or 'unclear'"),
        (views.passed(), {}, 422, "Field required"),
        ({**views.passed(), "service": "forgotten"}, {"mark": "right"}, 409, "No loaded policy is for"),
    ],
)
async def test_a_mark_that_cannot_be_is_refused(
    site: Site, view: dict[str, Any], body: dict[str, Any], status: int, told: str
) -> None:
    await site.put(view)

    found, problem = await site.send(f"/api/v1/watches/{view['id']}/mark", body)

    assert found == status
    assert told in str(problem)


async def test_a_mark_is_shown_in_lists_reports_and_pages(site: Site) -> None:
    said = {"mark": "wrong", "by": "omar <b>", "reason": "was the | database", "at": views.at(9000)}
    view = views.rolled_back(mark=said)
    await site.put(view)

    assert (await site.get("/api/v1/watches"))["watches"][0]["mark"] == said
    for path, shown in (
        ("/", "marked wrong"),
        ("/", 'title="Marked wrong (omar &lt;b&gt;, 2026-09-21 16:43 UTC: was the | database)"'),
        (f"/watches/{view['id']}", "<dt>Marked</dt><dd>wrong (omar &lt;b&gt;, 2026-09-21 16:43 UTC"),
        (
            f"/api/v1/watches/{view['id']}/report",
            r"| Marked | wrong (omar \<b>, 2026-09-21 16:43 UTC: was the \| data",
        ),
    ):
        async with site.http.get(site.url + path) as answer:
            assert shown in await answer.text()
