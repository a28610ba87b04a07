"""The evidence meter: what it promises of every stream of counts, in whatever order it arrives."""

import random
from collections.abc import Sequence
from math import exp, inf, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.feed import ALPHA, DAY_S, ORIGIN, Feed, meter
from watchdog.core.sequential import ERRORS, LATENCY, PROBES, Meter, Rung, burstiness, fit, harmonic
from watchdog.core.series import LATE_S

# --- the rule -----------------------------------------------------------------------------------------------------


def test_one_slot_grows_the_wealth_by_the_formula_of_the_design() -> None:
    ladder = (Rung(3, 30, 4),)
    m = Meter.start(p0=0.01, alpha=0.005, burstiness=2.0, ladder=ladder, watch_s=DAY_S)
    bet = 1.0 / harmonic(2880)
    x = (2 * log(3) - 100 * log(1.02)) / 2.0
    assert m.grown(0.0, 0, 0, 2, 100) == pytest.approx(bet * exp(x))
    assert m.grown(7.0, 0, 4, 0, 100) == pytest.approx((7.0 + bet / 5) * exp(-100 * log(1.02) / 2))
    assert m.need == 1 / 0.005


@given(bad=st.integers(1, 10_000), rung=st.integers(0, 4), slot=st.integers(0, 17_000))
def test_no_slot_adds_more_than_its_share_of_an_alarm(bad: int, rung: int, slot: int) -> None:
    m = meter()
    cap = m.ladder[rung].cap_slots
    bet = 1.0 / (m.horizon[rung] * (slot + 1))
    assert m.grown(0.0, rung, slot, bad, bad) <= bet * (m.need / bet) ** (1 / cap) * (1 + 1e-9)


def test_a_coarse_feed_gets_slots_of_its_own_width() -> None:
    assert fit(ERRORS, 60.0) == (
        Rung(1.2, 300, 3),
        Rung(1.6, 60, 4),
        Rung(3, 60, 3),
        Rung(8, 60, 3),
        Rung(60, 60, 3),
    )
    assert fit(ERRORS, 5.0) == ERRORS


def test_an_empty_day_raises_nothing_and_bets_no_more_than_was_allotted() -> None:
    feed = Feed()
    for hour in range(1, 25):
        feed.pass_to(hour * 3600.0)
    assert not feed.alarms
    assert max(feed.wealth()) <= 1.0


@given(start=st.floats(5.0, 7000.0))
@settings(max_examples=20)
def test_requests_without_errors_raise_nothing_at_any_rate(start: float) -> None:
    feed = Feed()
    feed.in_order([(0.0, start)] * 60)
    assert not feed.alarms


# --- what must not alarm -----------------------------------------------------------------------------------------


@given(bucket=st.integers(0, 110), spread=st.integers(0, 9))
@settings(max_examples=40)
def test_one_error_in_ten_requests_never_alarms(bucket: int, spread: int) -> None:
    """However the ten fall: in one bucket, or one a bucket."""
    feed = Feed()
    counts = [(0.0, 0.0)] * 120
    for i in range(10):
        at = min(119, bucket + i * min(1, spread))
        bad, total = counts[at]
        counts[at] = (bad + (i == spread), total + 1.0)
    feed.in_order(counts)
    feed.pass_to(3600.0)
    assert not feed.alarms


@given(
    per_bucket=st.sampled_from([0.5, 5.0, 50.0, 500.0, 5000.0]),
    begins=st.floats(0.0, 290.0),
    period=st.sampled_from([5.0, 60.0]),
)
@settings(max_examples=40)
def test_a_single_blip_of_five_seconds_of_errors_never_alarms(per_bucket: float, begins: float, period: float) -> None:
    """Wherever it lies across the buckets."""
    feed = Feed(period_s=period, lag_s=10.0 if period == 5.0 else 180.0)
    counts = []
    for k in range(int(900 / period)):
        start = k * period
        share = max(0.0, min(start + period, begins + 5.0) - max(start, begins)) / period
        counts.append((per_bucket * share, per_bucket))
    feed.in_order(counts)
    feed.pass_to(1500.0)
    assert not feed.alarms


def test_true_rates_a_tenth_below_the_limit_are_left_alone() -> None:
    """200 days at 0.9 % under "< 1 %": the bound is 0.5 % of them, theirs is far less (docs/evidence.md)."""
    rng = random.Random(4)
    m = Meter.start(p0=0.01, alpha=ALPHA, burstiness=1.0, ladder=fit(ERRORS, 60.0), watch_s=DAY_S)
    alarms = 0
    for _ in range(200):
        minutes = [sum(rng.random() < 0.009 for _ in range(30)) for _ in range(1440)]
        alarms += any(_ever(m, r, minutes, 30) for r in range(len(m.ladder)))
    assert alarms <= 1


def _ever(m: Meter, r: int, minutes: Sequence[int], requests: int) -> bool:
    width = int(m.ladder[r].slot_s // 60)
    wealth = 0.0
    for slot in range(len(minutes) // width):
        wealth = m.grown(wealth, r, slot, sum(minutes[slot * width : (slot + 1) * width]), requests * width)
        if wealth >= m.need:
            return True
    return False


# --- what must alarm, and how soon -------------------------------------------------------------------------------


@pytest.mark.parametrize("after_s", [0.0, 600.0, 6 * 3600.0])
@pytest.mark.parametrize("rate", [1.0, 30.0])
def test_a_total_outage_alarms_within_forty_seconds_on_a_direct_feed(after_s: float, rate: float) -> None:
    feed = Feed()
    n = rate * 5
    end = feed.in_order([(0.0, n)] * int(after_s / 5))
    feed.in_order([(n, n)] * 12, from_s=end)
    feed.pass_to(end + 120.0)
    assert feed.alarms[0][0] - after_s <= 40.0


@pytest.mark.parametrize("after_s", [0.0, 600.0, 6 * 3600.0])
def test_a_total_outage_alarms_within_four_hundred_seconds_on_the_monitoring_feed(after_s: float) -> None:
    feed = Feed(lag_s=180.0, period_s=60.0)
    end = feed.in_order([(0.0, 60.0)] * int(after_s / 60), seen_after_s=185.0)
    feed.in_order([(60.0, 60.0)] * 8, from_s=end, seen_after_s=185.0)
    assert feed.alarms[0][0] - after_s <= 400.0


def test_eight_percent_at_twenty_requests_a_second_alarms_within_about_a_minute() -> None:
    feed = Feed()
    end = feed.in_order([(0.0, 100.0)] * 240)
    feed.in_order([(8.0, 100.0)] * 30, from_s=end)
    assert feed.alarms[0][0] - end <= 70.0


def test_an_alarm_tells_the_counts_since_the_fault_began() -> None:
    feed = Feed()
    end = feed.in_order([(0.0, 100.0)] * 240)
    feed.in_order([(50.0, 100.0)] * 30, from_s=end)
    alarm = feed.alarms[0][1]
    assert alarm.since == ORIGIN + end
    assert alarm.bad / alarm.total == 0.5
    assert alarm.until - alarm.since == alarm.total / 100 * 5


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 80)), min_size=60, max_size=300))
@settings(max_examples=25)
def test_whatever_alarms_was_above_the_limit_in_the_counts_it_tells(counts: list[tuple[int, int]]) -> None:
    """So the sentence of a decision never contradicts the row that it is about."""
    feed = Feed(meters=[meter(0.02)])
    feed.in_order([(min(b, n), n) for b, n in counts])
    feed.pass_to(3600.0)
    for _, alarm in feed.alarms:
        assert alarm.bad / alarm.total > 0.02


def test_a_slow_burn_is_told_over_all_the_time_that_it_took() -> None:
    """1.3 % at 20 requests a second takes longer to prove than points are kept."""
    rng = random.Random(3)
    feed = Feed(lag_s=180.0, period_s=60.0)
    feed.in_order([(sum(rng.random() < 0.0135 for _ in range(1200)), 1200.0) for _ in range(180)], seen_after_s=190.0)
    alarm = feed.alarms[0][1]
    assert alarm.until - alarm.since > LATE_S
    assert alarm.total == pytest.approx(1200.0 * (alarm.until - alarm.since) / 60.0)


def test_after_an_alarm_the_meter_asks_afresh() -> None:
    feed = Feed()
    end = feed.in_order([(5.0, 5.0)] * 8)
    feed.pass_to(end + 10.0)
    assert len(feed.alarms) == 1
    assert feed.settled.fullness(0) < 0.75
    again = feed.in_order([(0.0, 500.0)] * 240, from_s=end)
    assert len(feed.alarms) == 1
    feed.in_order([(5.0, 5.0)] * 12, from_s=again)
    assert len(feed.alarms) == 2
    assert feed.alarms[1][0] - again >= 30.0


def test_a_late_sample_of_before_an_alarm_does_not_raise_it_again() -> None:
    feed = Feed()
    feed.in_order([(0.0, 5.0)] * 10)
    end = feed.in_order([(5.0, 5.0)] * 7, from_s=60.0)
    feed.pass_to(end + 20.0)
    assert len(feed.alarms) == 1
    feed.arrive(end + 30.0, 55.0, 5.0, 5.0)
    assert len(feed.alarms) == 1


def test_rows_on_one_feed_are_judged_each_by_its_own_limit() -> None:
    feed = Feed(meters=[meter(0.01), meter(0.2), meter(0.05, ladder=LATENCY)])
    feed.in_order([(10.0, 100.0)] * 120)
    assert {a.meter for _, a in feed.alarms} == {0, 2}
    assert not feed.settled.alarming(1)


# --- state -------------------------------------------------------------------------------------------------------


def test_its_state_does_not_grow_with_time() -> None:
    feed = Feed()
    sizes = []
    for hour in range(8):
        feed.in_order([(float(k % 7 == 0), 50.0) for k in range(720)], from_s=hour * 3600.0)
        sizes.append(len(feed.series.points) + sum(len(t.slots) for t in feed.series.tracks))
    assert max(sizes[1:]) <= 1.2 * sizes[1]
    assert sizes[-1] < 900


# --- the numbers that are shown ----------------------------------------------------------------------------------


def test_fullness_runs_from_nothing_to_an_alarm() -> None:
    feed = Feed()
    assert feed.settled.fullness(0) == 0.0
    fuller = [0.0]
    for k in range(7):
        feed.arrive(k * 5.0 + 5.0, k * 5.0 + 5.0, 5.0, 5.0)
        feed.pass_to(k * 5.0 + 15.0)
        if feed.alarms:
            break
        fuller.append(feed.settled.fullness(0))
    assert feed.alarms
    assert fuller == sorted(fuller)
    assert 0.0 < fuller[-1] < 1.0


def test_enough_traffic_is_more_for_small_limits_and_bursty_streams() -> None:
    assert meter(0.001).enough > meter(0.01).enough > meter(0.05).enough
    assert meter(d=3.0).enough == pytest.approx(3 * meter().enough)
    assert meter().enough_at(0.5) < meter().enough_at(0.05) == pytest.approx(meter().enough)
    assert meter(0.6, ladder=PROBES).enough < inf


def test_burstiness_is_one_for_independent_errors_and_more_for_clustered_ones() -> None:
    rng = random.Random(1)
    independent = [(float(sum(rng.random() < 0.02 for _ in range(200))), 200.0) for _ in range(300)]
    clustered = [(b * 5.0 if k % 5 == 0 else 0.0, n) for k, (b, n) in enumerate(independent)]
    assert burstiness(independent, 0.02) == pytest.approx(1.0, abs=0.25)
    assert burstiness(clustered, 0.02) == 3.0
    assert burstiness([], 0.02) == 1.0
