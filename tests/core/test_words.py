"""What people are told, and when: one page for one thing, true when it is sent, with what to do in it."""

from dataclasses import replace
from typing import Any

from tests.core.drive import DOWN, NEW, OK, OLD, T0, Drive, opening
from watchdog.core.commands import Notify
from watchdog.core.events import Resumed, Writing
from watchdog.core.model import Split

BY_HAND = f"gcloud run services update-traffic api --project acme --region europe-west1 --to-revisions {OLD}=100"


def proven(**changes: Any) -> Drive:
    """A release that is hard down, and decided."""
    drive = Drive(opening(**changes))
    drive.healthy(0, 50)
    drive.hard_down(50)
    return drive


def paged(drive: Drive) -> list[tuple[str, str]]:
    """Kind and what it did to the incident, of every message that concerns one."""
    told = [c.body for c in drive.commands if isinstance(c, Notify)]
    return [(m["kind"], m["incident"]["action"]) for m in told if m["incident"]]


def test_rolling_back_is_said_when_nothing_speaks_against_it_any_more() -> None:
    drive = proven()
    assert not drive.messages("decision"), "a budget may still refuse it"

    drive.put(Writing(at=T0 + 55.0, after=Split.of({OLD: 100})))
    drive.put(Writing(at=T0 + 55.5, after=Split.of({OLD: 100})))  # taken up again after a crash
    (page,) = drive.messages("decision")
    assert page["did"] == f"Moving traffic to {OLD} 100 % now."
    drive.restored(56)
    drive.verify(OK, 64)
    assert paged(drive) == [("decision", "trigger"), ("rolled_back", "resolve")]


def test_a_write_that_cloud_run_does_not_take_is_paged_while_it_is_tried() -> None:
    drive = proven()
    drive.put(Writing(at=T0 + 55.0, after=Split.of({OLD: 100}), trouble="Cloud Run answered 503"))
    (page,) = drive.messages("decision")
    assert "Cloud Run answered 503" in page["did"]
    assert BY_HAND in page["todo"]


def test_a_refused_rollback_is_one_page() -> None:
    drive = proven()
    drive.written(55, "refused", reason="cooldown", retry_at=T0 + 600)
    assert paged(drive) == [("rollback_failed", "trigger")]
    assert "ROLLBACK REFUSED" in drive.messages("rollback_failed")[0]["status"]


def test_observe_mode_pages_once_and_says_how_to_do_it_by_hand() -> None:
    drive = proven(mode="observe")
    drive.written(55, "observed", reason=f"would have moved traffic to {OLD} 100 %")
    (page,) = drive.messages("decision", "rollback_failed")
    assert "only observes" in page["did"]
    assert BY_HAND in page["todo"]
    assert "would have rolled back" in page["status"]


def test_a_known_bad_revision_that_serves_again_pages_and_says_why_nothing_is_written() -> None:
    drive = proven(mode="observe", known_bad=True)
    (opened,) = drive.messages("opened")
    assert opened["title"].startswith("Known bad revision serves again")
    assert opened["incident"] == {"action": "trigger", "dedup_key": "watchdog/europe-west1/api/w1/1"}
    drive.written(55, "observed", reason=f"would have moved traffic to {OLD} 100 %")
    (page,) = drive.messages("rollback_failed")
    assert "was rolled back before" in page["did"]
    assert "only observes" not in page["did"]


def test_the_root_message_says_rolled_back_once_it_is() -> None:
    drive = proven()
    drive.restored(56)
    drive.verify(OK, 64)
    (page,) = drive.messages("rolled_back")
    assert page["status"] == f"api in europe-west1: rolled back – {NEW}"


def test_a_failed_rollback_names_the_target_and_the_command() -> None:
    drive = proven()
    drive.written(120, "failed", reason="Cloud Run answered 403")
    (page,) = drive.messages("rollback_failed")
    assert f"Move it to {OLD} 100 % by hand now" in page["todo"]
    assert BY_HAND in page["todo"]
    assert page["status"] == f"api in europe-west1: ROLLBACK FAILED, {NEW} still has 100 % of the traffic"
    assert drive.watch.state.value == "watching", "nothing is held"


def test_a_person_who_moves_traffic_after_a_failed_rollback_ends_the_incident() -> None:
    drive = proven()
    drive.written(120, "failed", reason="Cloud Run answered 403")
    drive.traffic({OLD: 100}, 300)
    assert drive.ending == ("ended", "failed")
    assert paged(drive)[-1] == ("rollback_failed", "resolve")
    assert drive.messages("rollback_failed")[-1]["over"] == f"Yes: {NEW} serves nobody any more."


def test_a_refused_watch_that_is_well_again_resolves_its_incident_and_stays_failed() -> None:
    first = opening()
    drive = Drive(replace(first, deploy=replace(first.deploy, rollback_safe=False)))
    drive.healthy(0, 50)
    drive.hard_down(50)
    assert paged(drive) == [("rollback_failed", "trigger")]
    drive.healthy(60, 350)
    assert len(paged(drive)) == 1, "not before it has been well for a while"
    drive.healthy(350, 380)
    assert paged(drive) == [("rollback_failed", "trigger"), ("recovered", "resolve")]
    assert drive.watch.outcome == "failed"


def test_silence_is_not_health() -> None:
    """The process was away while the calm would have lasted long enough: nobody has looked."""
    drive = proven(mode="observe")
    drive.written(55, "observed", reason="would have")
    drive.healthy(60, 100)
    drive.put(Resumed(at=T0 + 900, down_since=T0 + 100))
    assert len(paged(drive)) == 1
    drive.healthy(905, 1300)
    assert paged(drive)[-1] == ("recovered", "resolve")


def test_a_signal_is_over_only_when_somebody_says_so() -> None:
    drive = Drive(opening(mode="observe"))
    drive.healthy(0, 50)
    drive.signal("database_corruption", 50)
    drive.written(51, "observed", reason="would have")
    drive.healthy(55, 800)
    assert len(paged(drive)) == 1
    drive.operate("resolve", 801)
    assert paged(drive)[-1] == ("note", "resolve")
    drive.operate("resolve", 802)
    assert len(paged(drive)) == 2, "twice is once"


def test_a_service_that_is_still_broken_at_the_end_keeps_its_incident() -> None:
    drive = proven(mode="observe", ends_at=T0 + 70)
    drive.written(55, "observed", reason="would have")
    drive.probe(DOWN, 60)
    drive.tick(200)
    assert drive.ending == ("ended", "failed")
    assert paged(drive) == [("rollback_failed", "trigger")]
    assert "The incident stays open" in drive.messages("rollback_failed")[-1]["over"]


def test_an_old_rolled_back_mark_does_not_make_a_persons_change_another_watchdogs() -> None:
    stale = Drive(opening(rolled_back=NEW, known_bad=True))
    stale.traffic({OLD: 100}, 60, rolled_back=NEW)
    assert stale.ending == ("ended", "overridden")
    fresh = Drive()
    fresh.traffic({OLD: 100}, 60, rolled_back=NEW)
    assert fresh.ending == ("ended", "rolled_back")


def test_a_time_of_another_day_has_its_date() -> None:
    drive = Drive()
    (opened,) = drive.messages("opened")
    assert opened["over"] == "The watch ends at 22 Sep 14:13:20 UTC."
    soon = Drive(opening(ends_at=T0 + 600))
    assert soon.messages("opened")[0]["over"] == "The watch ends at 14:23:20 UTC."


def test_a_message_offers_the_buttons_that_make_sense_then() -> None:
    drive = proven()
    drive.put(Writing(at=T0 + 54.5, after=Split.of({OLD: 100})))
    assert drive.messages("decision")[0]["actions"] == ["ack"], "it is being written"
    drive.written(120, "failed", reason="Cloud Run answered 403")
    assert drive.messages("rollback_failed")[0]["actions"] == ["ack", "rollback"]
    drive.operate("ack", 130)
    assert drive.messages("note")[-1]["actions"] == ["rollback"]
    assert Drive().messages("opened")[0]["actions"] == [], "nobody is asked for anything"
