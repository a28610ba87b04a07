"""A table of evidence judged in virtual time: what is proven, when, and what never is."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.evidence import BARQ, Row, broken, counts, healthy, judged, policy, table
from watchdog.core.model import Outcome
from watchdog.engine import replay
from watchdog.engine.replay import Judgement
from watchdog.engine.replay_csv import read_csv

OUTAGE = broken(healthy(900), after=300.0, share=1.0)


def rollback(found: Judgement) -> float | None:
    """When a rollback was decided, seconds since the cutover."""
    return next((d.at_s for d in found.decisions if d.action == "rollback"), None)


# --- what is proven, and when -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "width, total, share, within_s",
    [
        (5.0, 50.0, 1.0, 45.0),  # everything fails: the persistence floor of 30 s and the lag of 10 s
        (5.0, 50.0, 0.2, 60.0),
        (5.0, 50.0, 0.08, 120.0),
        (1.0, 10.0, 1.0, 45.0),
        (60.0, 600.0, 1.0, 420.0),  # three slots of 60 s, seen 180 s later
        (60.0, 600.0, 0.08, 600.0),
    ],
)
def test_errors_above_the_limit_roll_back_soon(width: float, total: float, share: float, within_s: float) -> None:
    rows = [*counts("error_rate", until=1800, width=width, total=total), *counts("health_check", until=1800, total=1)]
    found = judged([row if row.check != "error_rate" else _bad(row, 600.0, share) for row in rows])
    at = rollback(found)
    assert at is not None
    assert 600.0 < at <= 600.0 + within_s
    assert found.outcome is Outcome.ROLLED_BACK


def _bad(row: Row, after: float, share: float) -> Row:
    return broken([row], after=after, share=share)[0]


@pytest.mark.parametrize(
    "check", ["health_check", "health", "probe.live"], ids=["every probe", "one by name", "one as probe.NAME"]
)
def test_probes_that_fail_roll_back(check: str) -> None:
    good = [*counts("error_rate", until=900), *counts("health_check", until=300, total=1)]
    bad = broken([r for r in counts(check, until=900, total=1) if r.start >= 300], after=0.0, share=1.0)
    found = judged([*good, *bad])
    at = rollback(found)
    assert at is not None
    assert 300.0 < at <= 375.0
    assert found.outcome is Outcome.ROLLED_BACK


def test_a_total_outage_from_the_first_request_on_is_found() -> None:
    at = rollback(judged(broken(healthy(300), after=0.0, share=1.0)))
    assert at is not None
    assert at <= 45.0


def test_slow_requests_ask_for_a_person_and_do_not_roll_back() -> None:
    rows = [*healthy(3600), *counts("p95_latency", until=3600, bad=25.0)]
    found = judged(rows)
    assert found.outcome is Outcome.PASSED
    assert {d.action for d in found.decisions} == {"investigate"}
    assert any(d.criterion.startswith("p95_latency") for d in found.decisions)


def test_a_gauge_breaks_by_four_of_five_points() -> None:
    hot = [Row(start=i * 60.0, end=i * 60.0 + 60.0, check="cpu_usage", value=0.95) for i in range(10)]
    found = judged([*healthy(900), *hot])
    assert [d.action for d in found.decisions] == ["scale_up", "scale_up"]
    assert found.decisions[0].at_s == 240.0
    assert found.outcome is Outcome.PASSED


def test_a_rollback_is_supposed_to_succeed() -> None:
    found = judged(OUTAGE)
    assert found.outcome is Outcome.ROLLED_BACK
    assert "recovered" in found.reason
    at = rollback(found)
    assert at is not None
    assert at < found.ended_s < at + 60.0


def test_a_file_that_ends_in_a_rollback_ends_rolled_back() -> None:
    at = rollback(judged(OUTAGE))
    assert at is not None
    for left in (5.0, 0.0):
        found = judged([row for row in OUTAGE if row.end <= at + left])
        assert (found.outcome, rollback(found)) == (Outcome.ROLLED_BACK, at)


def test_nobody_acts_in_observe_mode() -> None:
    observing = BARQ.model_copy(update={"rollback": BARQ.rollback.model_copy(update={"mode": "observe"})})
    found = judged(OUTAGE, observing)
    assert found.decisions[0].reason.startswith("Would roll back")
    assert found.outcome is Outcome.FAILED
    assert found.ended_s == 900.0


def test_nobody_answers_in_approve_mode() -> None:
    asking = BARQ.model_copy(update={"rollback": BARQ.rollback.model_copy(update={"mode": "approve"})})
    rows = broken(healthy(3600), after=300.0, share=1.0)
    found = judged(rows, asking)
    assert "Asking for approval" in found.decisions[0].reason
    assert found.outcome is Outcome.FAILED


# --- what never is ------------------------------------------------------------------------------------------------


def test_one_error_in_ten_requests_proves_nothing() -> None:
    rows = [*counts("health_check", until=900, total=1), *counts("error_rate", until=900, width=60.0, total=0.0)]
    rows[-3] = replace(rows[-3], bad=1.0, total=10.0)
    found = judged(rows)
    assert rollback(found) is None
    assert found.outcome is Outcome.PASSED


@settings(max_examples=15)
@given(errors=st.lists(st.integers(0, 179), min_size=1, max_size=3, unique=True))
def test_a_few_errors_among_thousands_prove_nothing(errors: list[int]) -> None:
    rows = counts("error_rate", until=900)
    for i in errors:
        rows[i] = replace(rows[i], bad=1.0)
    assert rollback(judged([*rows, *counts("health_check", until=900, total=1)])) is None


def test_a_lone_failed_probe_of_a_day_is_a_note() -> None:
    rows = counts("health_check", until=86_400, width=60.0, total=1)
    rows[700] = replace(rows[700], bad=1.0)
    found = judged([*rows, *counts("error_rate", until=86_400, width=60.0)])
    assert rollback(found) is None
    assert found.outcome is Outcome.PASSED
    assert found.ended_s == 86_400.0


def test_a_blip_of_five_seconds_does_not_roll_back() -> None:
    rows = healthy(900)
    assert rollback(judged([_bad(row, 0.0, 1.0) if row.start == 450.0 else row for row in rows])) is None


def test_errors_just_below_the_limit_do_not_roll_back() -> None:
    rng = random.Random(7)
    rows = [
        replace(row, bad=float(sum(rng.random() < 0.009 for _ in range(50))))
        for row in counts("error_rate", until=7200)
    ]
    assert rollback(judged([*rows, *counts("health_check", until=7200, total=1)])) is None


@settings(max_examples=15)
@given(
    lost=st.lists(st.tuples(st.sampled_from(["error_rate", "health_check", "cpu_usage"]), st.integers(0, 179))),
    reason=st.sampled_from(["no_series", "nan", "source_error", "prober"]),
)
def test_missing_evidence_never_rolls_back(lost: list[tuple[str, int]], reason: str) -> None:
    gone = set(lost)
    rows = [
        Row(start=row.start, end=row.end, check=row.check, missing=reason)
        if (row.check, int(row.start / 5)) in gone
        else row
        for row in healthy(900)
    ]
    assert rollback(judged(rows)) is None


def test_nothing_but_missing_evidence_is_unverified() -> None:
    rows = [Row(start=r.start, end=r.end, check=r.check, missing="no_series") for r in healthy(900)]
    found = judged(rows)
    assert found.decisions == ()
    assert found.outcome is Outcome.UNVERIFIED


def test_a_window_that_is_hardly_covered_is_unverified() -> None:
    found = judged([row for row in healthy(900) if row.start < 300 or row.start >= 600])
    assert found.outcome is Outcome.UNVERIFIED


# --- order and lateness -------------------------------------------------------------------------------------------


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """Any table: several feeds, gauges, gaps, repeats, late rows, an outage or none."""
    until = draw(st.sampled_from([120, 600, 900]))
    width = draw(st.sampled_from([5.0, 10.0, 30.0, 60.0]))
    rows = [*counts("error_rate", until=until, width=width), *counts("health_check", until=until, total=1)]
    after, share = draw(st.floats(0, until)), draw(st.sampled_from([0.0, 0.02, 0.3, 1.0]))
    rows = broken(rows, after=after, share=share)
    rng = draw(st.randoms(use_true_random=False))
    out = []
    for row in rows:
        seen = None if rng.random() < 0.5 else row.end + rng.choice([0.0, 0.5, 60.0, 400.0, 2000.0])
        out.append(replace(row, seen=seen))
        if rng.random() < 0.05:
            out.append(replace(row, seen=row.end + rng.choice([1.0, 30.0]), bad=0.0))
        if rng.random() < 0.05:
            out.append(Row(start=row.start, end=row.end, check=row.check, missing="nan", seen=seen))
    out += [
        Row(start=i * 60.0, end=i * 60.0 + 60.0, check="memory_usage", value=rng.random()) for i in range(until // 60)
    ]
    return out


@settings(max_examples=20)
@given(rows=tables(), order=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(rows: list[Row], order: random.Random) -> None:
    shuffled = list(rows)
    order.shuffle(shuffled)
    one, other = judged(rows), judged(shuffled)
    assert (one.decisions, one.outcome, one.reason, one.ended_s) == (
        other.decisions,
        other.outcome,
        other.reason,
        other.ended_s,
    )


def test_rows_that_come_nine_minutes_late_still_count() -> None:
    late = [replace(row, seen=row.end + 540.0) for row in broken(healthy(2400), after=300.0, share=1.0)]
    at = rollback(judged(late))
    assert at is not None
    assert 300.0 + 540.0 < at <= 345.0 + 540.0


def test_rows_that_come_too_late_are_not_judged() -> None:
    bad = [r for r in OUTAGE if r.check == "error_rate" and r.start >= 300]
    rows = [*healthy(3600), *(replace(r, total=1000.0, bad=1000.0, seen=r.end + 1200.0) for r in bad)]
    assert rollback(judged(rows)) is None


def test_seen_again_the_last_one_wins() -> None:
    rows = [*OUTAGE, *(replace(r, bad=0.0, seen=r.end + 1.0) for r in OUTAGE if r.start >= 300)]
    assert rollback(judged(rows)) is None


def test_feeds_of_different_width_are_not_added_up() -> None:
    """The same outage in a quick and in a slow feed: the quick one proves it, with its own counts."""
    slow = broken(counts("error_rate", until=900, width=60.0, total=600.0), after=300.0, share=1.0)
    found = judged([*OUTAGE, *slow])
    assert rollback(found) == rollback(judged(OUTAGE))
    assert found.decisions[0].reason == judged(OUTAGE).decisions[0].reason


# --- where it ends ------------------------------------------------------------------------------------------------


def test_a_short_file_is_judged_on_what_it_saw() -> None:
    found = judged(healthy(420))
    assert found.outcome is Outcome.PASSED
    assert found.ended_s == 420.0


def test_a_long_file_ends_with_the_policy() -> None:
    short = policy(windows={"immediate": {"until": "10m", "probe_every": "5s"}})
    found = judged(healthy(1200), short)
    assert found.outcome is Outcome.PASSED
    assert found.ended_s == 600.0


def test_rows_after_the_end_change_nothing() -> None:
    short = policy(windows={"immediate": {"until": "10m", "probe_every": "5s"}})
    assert judged(broken(healthy(1200), after=620.0, share=1.0), short).outcome is Outcome.PASSED


def test_a_deadline_that_stays_due_does_not_hold_time_up() -> None:
    """Slot ends that no float can hold exactly."""
    odd = [
        Row(start=i * 7.3, end=(i + 1) * 7.3, check="error_rate", bad=20.0 if i > 20 else 0.0, total=20.0)
        for i in range(100)
    ]
    assert rollback(judged([*odd, *counts("health_check", until=730, total=1)])) is not None


def test_samples_that_are_seen_together_are_one_event() -> None:
    samples = read_csv(table(healthy(60)), "x", BARQ).samples
    events = list(replay.batches(samples))
    assert [e.at for e in events] == [5.0 * i for i in range(1, 13)]
    assert sum(len(e.samples) for e in events) == len(samples) == 12 * 4
