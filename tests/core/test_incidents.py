"""Whole incidents in virtual time: what a deploy does, and what the watch makes of it."""

import pytest

from tests.core.drive import BOTH, CONTROL, DOWN, HANGS, NEW, NEWER, OK, OLD, OURS, T0, Drive, opening
from watchdog.core.events import Noticed, Resumed, Target
from watchdog.core.model import Deploy, Missing, Split, Value
from watchdog.core.probing import Purpose, Role
from watchdog.core.schedule import plan

# --- hard down -------------------------------------------------------------------------------------------------


def test_five_failures_in_a_row_roll_back_and_recovery_is_proven() -> None:
    drive = Drive()
    drive.healthy(0, 50)
    drive.hard_down(50, failures=4)
    assert drive.writes == 0, "four are not five"

    drive.confirm(DOWN, 54, 4)
    assert drive.writes == 1
    assert drive.watch.decisions[-1].reason.startswith("Rolling back api (europe-west1) from api-00002-new")

    drive.restored(55)
    drive.verify(OK, 62)
    assert drive.ending == ("ended", "rolled_back")
    assert drive.messages("rolled_back")[0]["incident"] == {
        "action": "resolve",
        "dedup_key": "watchdog/europe-west1/api/w1/1",
    }


def test_one_pass_ends_the_confirmation() -> None:
    drive = Drive()
    drive.healthy(0, 50)
    drive.hard_down(50, failures=4)
    drive.confirm(OK, 54, 4)
    drive.confirm(DOWN, 55, 5)

    assert (drive.writes, drive.watch.state) == (0, "watching")


def test_attempts_count_in_the_order_they_were_sent_not_answered() -> None:
    """An attempt that hangs holds the count back, so a pass among them is never overlooked."""
    drive = Drive()
    drive.healthy(0, 50)
    drive.probe(DOWN, 50)
    for attempt in (2, 3, 4):
        drive.confirm(DOWN, 50 + attempt, attempt)
    assert drive.writes == 0

    drive.probe(DOWN, 51, purpose=Purpose.CONFIRM, attempt=1, took=3.5)
    assert drive.writes == 1


def test_our_own_faults_neither_count_nor_break_the_row() -> None:
    drive = Drive()
    drive.healthy(0, 50)
    drive.hard_down(50, failures=3)
    drive.confirm(OURS, 53, 3)
    drive.confirm(DOWN, 54, 4)
    assert drive.writes == 0
    drive.confirm(DOWN, 55, 5)

    assert drive.writes == 1


def test_later_windows_are_more_patient() -> None:
    drive = Drive()
    drive.healthy(0, 900)
    drive.healthy(900, 3000, every=15)
    drive.hard_down(3000, failures=9)
    assert drive.writes == 0
    drive.confirm(DOWN, 3009, 9)

    assert drive.writes == 1


def test_a_probe_that_never_passed_pages_and_cannot_roll_back() -> None:
    """A wrong path or a missing token must not move traffic."""
    drive = Drive(opening(armed=()))
    drive.hard_down(5, failures=30)

    assert drive.writes == 0
    assert len(drive.messages("warning")) == 1
    assert "never passed" in drive.messages("warning")[0]["happened"] + drive.messages("warning")[0]["did"]


def test_a_control_that_passes_arms_the_probe() -> None:
    drive = Drive(opening(armed=(), tags=CONTROL))
    drive.hard_down(5, control=OK)

    assert drive.writes == 1


def test_the_public_url_down_and_the_revision_fine_is_an_edge_fault() -> None:
    drive = Drive(opening(tags=BOTH))
    drive.healthy(0, 50)
    drive.probe(DOWN, 50)
    for k in range(1, 5):
        drive.confirm(OK, 49.8 + k, k, Role.OWN)
        drive.confirm(DOWN, 50 + k, k)

    assert drive.writes == 0
    assert drive.ending == ("held", None)
    assert "at the edge" in drive.messages("held")[0]["happened"]

    drive.confirm(OK, 56, 5)
    assert drive.watch.state == "watching"


def test_both_sick_is_asked_about_for_two_minutes_and_then_the_last_change_is_undone() -> None:
    drive = Drive(opening(tags=CONTROL))
    drive.healthy(0, 50)
    drive.hard_down(50, control=DOWN)
    assert (drive.writes, drive.watch.state) == (0, "held")

    for k in range(5, 130):
        drive.confirm(DOWN, 49.8 + k, k, Role.CONTROL)
        drive.confirm(DOWN, 50 + k, k)
    assert drive.writes == 1
    decided = drive.watch.decisions[-1].at
    assert 120 <= decided - (T0 + 54) <= 122


def test_a_control_that_is_well_again_ends_the_hold_once_the_new_one_failed_beside_it() -> None:
    drive = Drive(opening(tags=CONTROL))
    drive.healthy(0, 50)
    drive.hard_down(50, control=DOWN)
    drive.confirm(OK, 55, 5, Role.CONTROL)
    drive.confirm(DOWN, 55.1, 5)
    drive.confirm(DOWN, 56.1, 6)

    assert drive.writes == 0

    drive.confirm(DOWN, 57.1, 7)

    assert drive.writes == 1


def test_in_the_extended_window_a_shared_cause_holds_for_good() -> None:
    drive = Drive(opening(tags=CONTROL))
    drive.healthy(0, 900)
    drive.healthy(900, 3600, every=15)
    drive.healthy(3600, 7200, every=60)
    drive.hard_down(7200, failures=400, control=DOWN)

    assert (drive.writes, drive.watch.state) == (0, "held")


def test_sickness_from_before_the_deploy_holds() -> None:
    drive = Drive(opening(tags=CONTROL, sick_before=("health",)))
    drive.hard_down(5, failures=200, control=DOWN)

    assert (drive.writes, drive.watch.state) == (0, "held")


def test_a_cold_control_that_times_out_is_not_sick_yet() -> None:
    drive = Drive(opening(tags=CONTROL))
    drive.healthy(0, 50)
    drive.hard_down(50, control=HANGS)

    assert drive.writes == 1


def test_a_mixed_split_without_tags_disarms_the_probes() -> None:
    drive = Drive(opening(split=Split.of({NEW: 10, OLD: 90})))

    assert drive.watch.judged_role is None
    assert not [a for a in plan(drive.watch).asks if a.probe == "health"]


def test_in_a_mixed_split_each_revision_is_judged_at_its_own_url() -> None:
    drive = Drive(opening(split=Split.of({NEW: 10, OLD: 90}), tags=BOTH))

    assert {a.role for a in plan(drive.watch).asks} == {Role.OWN}


# --- counts ----------------------------------------------------------------------------------------------------


def test_errors_of_users_roll_back_although_every_probe_is_green() -> None:
    drive = Drive()
    for minute in range(1, 12):
        drive.healthy(minute * 60 - 55, minute * 60 + 5)
        drive.counts(48 if minute > 3 else 0, 600, minute * 60, minute * 60 + 60)
        if drive.writes:
            break

    assert drive.writes == 1
    assert "error_rate" in drive.watch.decisions[-1].criterion
    assert "limit < 1%" in drive.watch.decisions[-1].reason
    assert drive.watch.verdicts[0].verdict == "FAIL", "also where it said PASS before"


def test_one_error_in_ten_requests_moves_nothing() -> None:
    drive = Drive()
    drive.counts(1, 10, 60, 120)
    drive.tick(3000)

    assert drive.writes == 0


def test_silence_never_rolls_back_and_never_passes() -> None:
    drive = Drive()
    for minute in range(1, 60):
        drive.sample("error_rate", Missing("no_series"), minute * 60, minute * 60 + 60)
    drive.tick(86_401)

    assert drive.writes == 0
    assert drive.ending == ("ended", "unverified")
    assert drive.messages("blind")


def test_a_gauge_asks_for_more_capacity_and_never_moves_traffic() -> None:
    drive = Drive()
    for minute in range(1, 8):
        drive.sample("memory_usage", Value(0.8), minute * 60, minute * 60 + 60)

    assert drive.writes == 0
    assert [d.action.value for d in drive.watch.decisions] == ["scale_up"]


# --- signals, people, modes ------------------------------------------------------------------------------------


def test_a_signal_of_the_policy_rolls_back_at_once() -> None:
    drive = Drive()
    drive.signal("database_corruption", 10)

    assert drive.writes == 1
    assert "dba says database corruption: wrong rows" in drive.watch.decisions[-1].reason


def test_any_other_signal_only_informs() -> None:
    drive = Drive()
    drive.signal("customers_complain", 10)

    assert drive.writes == 0
    assert drive.messages("warning")


def test_approve_mode_asks_and_a_person_decides() -> None:
    drive = Drive(opening(mode="approve"))
    drive.healthy(0, 50)
    drive.hard_down(50)
    assert (drive.writes, drive.watch.state) == (0, "awaiting_approval")

    drive.operate("rollback", 60)
    assert drive.writes == 1
    assert "on the word of ada" in drive.watch.decisions[-1].reason


def test_approve_mode_without_an_answer_fails() -> None:
    drive = Drive(opening(mode="approve"))
    drive.healthy(0, 50)
    drive.hard_down(50)
    drive.tick(50 + 1000)

    assert (drive.writes, drive.watch.outcome) == (0, "failed")
    assert "nobody approved" in drive.watch.reason


def test_observe_mode_does_everything_but_the_write_and_fails() -> None:
    drive = Drive(opening(mode="observe"))
    drive.healthy(0, 50)
    drive.hard_down(50)
    drive.written(55, "observed", reason="would have moved traffic", after=Split.of({OLD: 100}))

    assert drive.watch.outcome == "failed"
    assert "Would roll back" in drive.watch.decisions[-1].reason


def test_a_deploy_that_is_not_safe_to_undo_pages_and_fails() -> None:
    key = opening().deploy.service
    drive = Drive(opening(deploy=Deploy(service=key, revision=NEW, rollback_safe=False)))
    drive.healthy(0, 50)
    drive.hard_down(50)

    assert (drive.writes, drive.watch.outcome) == (0, "failed")
    assert drive.messages("rollback_failed")[0]["incident"]


def test_without_a_target_it_pages_and_fails() -> None:
    drive = Drive(opening(target=Target()))
    drive.healthy(0, 50)
    drive.hard_down(50)

    assert (drive.writes, drive.watch.outcome) == (0, "failed")


def test_pause_stops_writes_not_evidence_and_resume_verifies_again() -> None:
    drive = Drive()
    drive.operate("pause", 40)
    drive.hard_down(50)
    assert (drive.writes, drive.watch.probes["health"].failed) == (0, 1)

    drive.operate("resume", 60)
    assert drive.writes == 1


def test_what_has_passed_again_while_paused_is_not_rolled_back_on_resume() -> None:
    drive = Drive()
    drive.operate("pause", 40)
    drive.hard_down(50)
    drive.confirm(OK, 56, 5)
    drive.operate("resume", 60)

    assert drive.writes == 0


def test_a_person_s_hold_stands_until_resume() -> None:
    drive = Drive()
    drive.operate("hold", 40)
    drive.hard_down(50, failures=20)
    assert drive.writes == 0


def test_a_refusal_that_ends_by_itself_is_decided_again() -> None:
    drive = Drive()
    drive.healthy(0, 50)
    drive.hard_down(50)
    drive.written(55, "refused", reason="cooldown", retry_at=T0 + 300)
    assert drive.ending == ("held", None)

    for k in range(5, 12):  # it goes on failing, and is still asked every second
        drive.confirm(DOWN, 290 + k, k)
    drive.tick(303)
    assert drive.writes == 2


# --- who moved -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "newer,rolled_back,outcome", [(True, "", "superseded"), (False, "", "overridden"), (False, NEW, "rolled_back")]
)
def test_traffic_taken_away_by_others_is_never_fought(newer: bool, rolled_back: str, outcome: str) -> None:  # noqa: FBT001
    drive = Drive()
    drive.traffic({NEWER if newer else OLD: 100}, 60, newer=newer, rolled_back=rolled_back)

    assert (drive.writes, *drive.ending) == (0, "ended", outcome)


def test_a_promotion_goes_on_and_starts_the_immediate_window_again() -> None:
    drive = Drive(opening(split=Split.of({NEW: 10, OLD: 90}), tags=BOTH))
    drive.traffic({NEW: 50, OLD: 50}, 3000)

    assert drive.watch.window == "immediate"
    assert drive.watch.target.split == Split.of({OLD: 100})
    assert "promoted" in drive.announced


def test_a_pending_watch_begins_with_its_first_traffic_and_gives_up_after_half_an_hour() -> None:
    drive = Drive(opening(split=Split.of({OLD: 100}), cutover_at=None))
    drive.traffic({NEW: 100}, 120)
    assert (drive.watch.state, drive.watch.cutover_at) == ("watching", T0 + 120)

    idle = Drive(opening(split=Split.of({OLD: 100}), cutover_at=None))
    idle.tick(1801)
    assert idle.ending == ("ended", "unverified")


# --- after the write -------------------------------------------------------------------------------------------


def test_a_rollback_that_did_not_help_is_said_after_90_s_and_not_sooner() -> None:
    drive = Drive()
    drive.healthy(0, 50)
    drive.hard_down(50)
    drive.restored(55)
    drive.verify(DOWN, 62, times=80)
    assert drive.watch.outcome is None

    drive.verify(DOWN, 142, times=10)
    assert drive.watch.outcome == "failed"
    assert len(drive.messages("not_recovered")) == 1
    assert drive.writes == 1, "never ping-pong"


def test_a_write_that_fails_says_that_traffic_must_be_moved_by_hand() -> None:
    drive = Drive()
    drive.healthy(0, 50)
    drive.hard_down(50)
    drive.written(120, "failed", reason="Cloud Run answered 403")

    assert drive.watch.outcome == "failed"
    assert f"--to-revisions {OLD}=100" in drive.messages("rollback_failed")[0]["todo"]


def test_a_rollback_decided_at_the_very_end_is_completed() -> None:
    drive = Drive(opening(ends_at=T0 + 55.0))
    drive.healthy(0, 50)
    drive.hard_down(50)
    drive.tick(70)
    assert drive.watch.open, "the end waits for the rollback"

    drive.restored(71)
    drive.verify(OK, 80)
    assert drive.ending == ("ended", "rolled_back")


def test_a_watch_never_passes_in_the_middle_of_a_confirmation() -> None:
    drive = Drive(opening(ends_at=T0 + 52.0))
    drive.healthy(0, 50)
    drive.probe(DOWN, 50)
    drive.tick(53)
    assert drive.watch.open

    for k in range(1, 5):
        drive.confirm(DOWN, 53 + k, k)
    assert drive.writes == 1


# --- the end ---------------------------------------------------------------------------------------------------


def test_half_a_minute_of_green_probes_passes_what_it_saw() -> None:
    """The tail behind Monitoring's lag is left out, and a row with nothing left does not prevent passing."""
    drive = Drive(opening(ends_at=T0 + 30.0))
    drive.healthy(0, 30)
    drive.tick(31)

    assert drive.ending == ("ended", "passed")
    assert drive.watch.proven_at is not None


def test_a_gap_of_our_own_is_not_covered() -> None:
    drive = Drive(opening(ends_at=T0 + 600.0))
    drive.healthy(0, 200)
    drive.put(Resumed(at=T0 + 500, down_since=T0 + 200))
    drive.healthy(500, 600)
    drive.tick(601)

    assert drive.ending == ("ended", "unverified")


def test_24_hours_of_health_pass_and_page_nobody() -> None:
    drive = Drive()
    probes = [*range(0, 900, 5), *range(900, 3600, 15), *range(3600, 86_400, 60)]
    asked = iter(probes)
    due = next(asked)
    for minute in range(1, 1434):
        while due < minute * 60 + 241:
            drive.probe(OK, due)
            due = next(asked)
        drive.counts(0, 600, minute * 60, minute * 60 + 60)
    for at in (due, *asked):
        drive.probe(OK, at)
    drive.tick(86_401)

    assert drive.ending == ("ended", "passed")
    assert not drive.messages("decision", "held", "warning", "blind", "rollback_failed")
    assert [m["kind"] for m in drive.messages("opened", "window", "passed")] == ["opened", "window", "window", "passed"]


def test_a_late_notice_forbids_the_rollback_and_names_the_target() -> None:
    """Discovery may be faster than the pipeline: what the notice knows counts all the same."""
    drive = Drive(opening(target=Target()))
    drive.healthy(0, 50)
    drive.put(Noticed(at=T0 + 50, version="2.0", previous=Split.of({OLD: 100})))
    assert (drive.watch.deploy.version, drive.watch.target.source) == ("2.0", "caller")

    drive.put(Noticed(at=T0 + 51, rollback_safe=False))
    drive.hard_down(55)
    assert (drive.writes, drive.watch.outcome) == (0, "failed")


def test_a_row_over_its_limit_never_says_pass() -> None:
    drive = Drive()
    for minute in range(1, 30):
        drive.counts(9, 600, minute * 60, minute * 60 + 60)
        if drive.watch.verdicts[0].verdict == "FAIL":
            break
        assert drive.watch.verdicts[0].verdict == "INCONCLUSIVE"
