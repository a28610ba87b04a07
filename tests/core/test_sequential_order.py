"""The evidence meter says the same whatever the order in which its samples arrive, and whenever somebody looks."""

import random

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.core.feed import Feed
from watchdog.core.series import LATE_S

BUCKETS = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 0, 1, 2, 30]), st.sampled_from([0, 3, 30, 90])), min_size=30, max_size=150
)


@given(
    counts=BUCKETS,
    period=st.sampled_from([5.0, 60.0]),
    seed=st.integers(0, 1_000_000),
)
@settings(max_examples=60)
def test_late_doubled_shuffled_and_revised_samples_give_the_same_verdict(
    counts: list[tuple[int, int]], period: float, seed: int
) -> None:
    """Up to ten minutes after their lag: the wealth is the very same, and what alarms in order alarms."""
    rng = random.Random(seed)
    lag = 10.0 if period == 5.0 else 180.0
    counts = [(min(b, n), n) for b, n in counts]
    straight, wild = Feed(lag_s=lag, period_s=period), Feed(lag_s=lag, period_s=period)
    for feed in (straight, wild):
        feed.in_order([(0.0, 50.0)] * 20)
    start = 20 * period
    arrivals: list[tuple[float, float, float, float]] = []
    for k, (bad, total) in enumerate(counts):
        end = start + (k + 1) * period
        seen = end + rng.choice([0.0, lag, lag + rng.uniform(0.0, LATE_S)])
        arrivals.append((seen, end, bad, total))
        if rng.random() < 0.3:
            arrivals.append((seen + rng.uniform(0.0, end + lag + LATE_S - seen), end, bad, total))
        if rng.random() < 0.3:  # what was there at first had missed some
            arrivals.append((rng.uniform(end, seen), end, 0.0, float(total)))
    straight.in_order(counts, from_s=start)
    for arrival in sorted(arrivals, key=lambda a: (a[0], a[2])):  # of two at the same time, the right one last
        wild.arrive(*arrival)
    over = start + len(counts) * period + lag + LATE_S + 1000.0
    for feed in (straight, wild):
        feed.pass_to(over)
    assert (straight.series.bad, straight.series.total) == (wild.series.bad, wild.series.total)
    if straight.alarms:
        assert wild.alarms
        return
    assume(not wild.alarms)  # clean buckets that were late may have looked like none
    assert straight.wealth() == wild.wealth()
    assert wild.series.too_late == 0


@given(late=st.floats(LATE_S + 3.0, 9000.0), bad=st.integers(0, 100))
@settings(max_examples=20)
def test_samples_later_than_ten_minutes_are_only_counted(late: float, bad: int) -> None:
    feed = Feed()
    feed.in_order([(0.0, 50.0)] * 60)
    feed.pass_to(310.0 + late)
    before = feed.wealth()
    feed.arrive(310.0 + late, 300.0 - 2.5, bad, 100.0)
    feed.arrive(310.0 + late, 200.0, bad, 100.0)
    assert feed.series.too_late == 2
    assert feed.wealth() == before
    assert not feed.alarms


@given(st.lists(st.floats(0.0, 2000.0), max_size=40), BUCKETS)
@settings(max_examples=40)
def test_looking_at_other_times_changes_nothing(looks: list[float], counts: list[tuple[int, int]]) -> None:
    counts = [(min(b, n), n) for b, n in counts]
    quiet, watched = Feed(), Feed()
    end = quiet.in_order(counts, seen_after_s=40.0)
    quiet.pass_to(end + 1000.0)
    times = sorted(looks)
    for k, (bad, total) in enumerate(counts):
        seen = (k + 1) * 5.0 + 40.0
        while times and times[0] < seen:
            watched.pass_to(times.pop(0))
        watched.arrive(seen, (k + 1) * 5.0, bad, total)
    for look in [t for t in times if t < end + 1000.0]:
        watched.pass_to(look)
    watched.pass_to(end + 1000.0)
    assert quiet.wealth() == watched.wealth()
    assert quiet.alarms == watched.alarms


def test_a_sample_with_more_bad_than_total_is_all_bad() -> None:
    feed = Feed()
    feed.arrive(10.0, 5.0, 9.0, 4.0)
    assert (feed.series.bad, feed.series.total) == (4.0, 4.0)


def test_what_ended_before_the_cutover_does_not_count() -> None:
    feed = Feed()
    feed.arrive(1.0, 0.0, 5.0, 5.0)
    assert feed.series.total == 0.0
    assert feed.series.too_late == 0
