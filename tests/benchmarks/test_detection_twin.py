"""The benchmark's vectorised meter is the core's meter: same alarm, same slot, same wealth, on whatever comes in."""

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.detection_parts.streams import Ints, Onset, Scenario, coarser, draw, generator
from benchmarks.detection_parts.twin import DIRECT, FEEDS, Feed, as_fed, core_alarm, error_meters, first_alarm, judge
from watchdog.core.sequential import ERRORS, LATENCY, PROBES, Ladder, Meter, fit
from watchdog.core.series import Series
from watchdog.core.track import Point

DAY_S = 86_400.0
LADDERS = {"errors": ERRORS, "latency": LATENCY, "probes": PROBES}


def core_judged(meter: Meter, bad: Ints, total: Ints, period_s: float) -> tuple[float, float]:
    """The end of the first alarm's slot, and the wealth at the end, by the core."""
    series, first = Series.start(origin=0.0, lag_s=0.0, meters=[meter]), inf
    for k, (b, n) in enumerate(zip(bad.tolist(), total.tolist(), strict=True)):
        end = (k + 1) * period_s
        series, late = series.add(Point(end, end - period_s, b, n), end)
        series, raised = series.judge(end)
        first = min(first, *(alarm.until for alarm in (*late, *raised)), inf)
    return first, series.up_to(end).wealth(0)


@given(
    seed=st.integers(0, 2**32),
    ladder=st.sampled_from(sorted(LADDERS)),
    period_s=st.sampled_from([5.0, 60.0]),
    p0=st.sampled_from([0.001, 0.01, 0.05, 0.5]),
    alpha=st.sampled_from([0.05, 0.005, 0.0008]),
    burstiness=st.sampled_from([1.0, 2.5]),
    rps=st.sampled_from([0.05, 1.0, 30.0, 1000.0]),
    worse=st.sampled_from([0.5, 1.0, 1.3, 2.0, 5.0, 100.0]),
)
@settings(deadline=None, max_examples=60)
def test_twin_and_core_agree_on_random_streams(
    seed: int, ladder: str, period_s: float, p0: float, alpha: float, burstiness: float, rps: float, worse: float
) -> None:
    rng = np.random.default_rng(seed)
    rungs = fit(LADDERS[ladder], period_s)
    meter = Meter.start(p0=p0, alpha=alpha, burstiness=burstiness, ladder=rungs, watch_s=DAY_S)
    slots = 400
    share = np.where(np.arange(slots) < rng.integers(0, slots), p0 / 2, min(1.0, p0 * worse))
    total = rng.poisson(rps * period_s, slots).astype(np.int32)
    bad = rng.binomial(total, share).astype(np.int32)
    twin = judge(meter, bad[:, None], total[:, None], slot_s=period_s)
    alarm_at, wealth = core_judged(meter, bad, total, period_s)
    assert twin.alarm_at[0] == alarm_at
    if alarm_at == inf:
        assert twin.wealth.max() == pytest.approx(wealth, rel=1e-9)


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.source)
@pytest.mark.parametrize("after", [0.02, 0.3])
def test_the_shipped_rows_alarm_in_the_same_slot_wherever_the_cutover_lies(feed: Feed, after: float) -> None:
    """Slots begin at the cutover, and a feed's periods do not."""
    scenario = Scenario(
        name="step", onset=Onset.LATE, after=after, span_s=7200.0, late_s=(900.0, 1800.0), rates=(1.0, 20.0)
    )
    days = draw(scenario, generator(5, scenario.name, 0), each=4)
    twin = first_alarm(error_meters(feed), days, feed)
    bad, total = as_fed(days, feed, aligned=True)
    for watch in range(days.watches):
        core = core_alarm(
            error_meters(feed),
            list(zip(bad[:, watch].tolist(), total[:, watch].tolist(), strict=True)),
            period_s=feed.period_s,
            lag_s=feed.lag_s,
            offset_s=float(days.offset[watch]) * feed.period_s,
        )
        assert core == pytest.approx(twin[watch])
    assert np.isfinite(twin).any(), "nothing was compared"


def test_burstiness_of_each_watch_counts_for_that_watch() -> None:
    scenario = Scenario(name="step", onset=Onset.LATE, after=0.05, span_s=7200.0, late_s=(900.0, 1800.0), rates=(20.0,))
    days = draw(scenario, generator(6, scenario.name, 0), each=2)
    spread = np.array([1.0, 3.0])

    def meter(burstiness: float) -> Meter:
        return Meter.start(p0=0.01, alpha=0.005, burstiness=burstiness, ladder=ERRORS, watch_s=DAY_S)

    both = judge(meter(1.0), days.bad, days.total, spread=spread).alarm_at
    for watch, d in enumerate(spread):
        alone = judge(meter(float(d)), days.bad[:, [watch]], days.total[:, [watch]]).alarm_at
        assert both[watch] == alone[0]


def test_counts_that_do_not_fill_a_slot_are_refused() -> None:
    meter = Meter.start(p0=0.01, alpha=0.005, burstiness=1.0, ladder=ERRORS, watch_s=DAY_S)
    minutes = np.ones((10, 1), dtype=np.int32)
    with pytest.raises(ValueError, match="use fit"):
        judge(meter, minutes, minutes, slot_s=60.0)


@given(
    seed=st.integers(0, 2**32),
    ladder=st.sampled_from([ERRORS, fit(ERRORS, 60.0)]),
    share=st.floats(0.005, 0.5),
    rps=st.sampled_from([1.0, 30.0, 1000.0]),
)
@settings(deadline=None, max_examples=30)
def test_a_stricter_row_of_the_same_alpha_never_alarms_after_a_looser_one(
    seed: int, ladder: Ladder, share: float, rps: float
) -> None:
    """Every slot's score falls with p0 and the cap does not depend on it, so the wealth does too, slot by slot: rows of
    one metric that differ only in their threshold need no alpha of their own."""
    rng = np.random.default_rng(seed)
    slots = 1440
    total = rng.poisson(rps * 5.0, slots).astype(np.int32)[:, None]
    bad = rng.binomial(total, share).astype(np.int32)
    strict, loose = (
        judge(
            Meter.start(p0=p0, alpha=0.005, burstiness=1.0, ladder=ladder, watch_s=DAY_S),
            coarser(bad, period),
            coarser(total, period),
            slot_s=5.0 * period,
        )
        for p0 in (0.01, 0.02)
        for period in (round(min(r.slot_s for r in ladder) / 5.0),)
    )
    assert strict.alarm_at[0] <= loose.alarm_at[0]
    assert (strict.wealth >= loose.wealth * (1 - 1e-9)).all()


def test_every_watch_of_a_feed_has_the_same_meters() -> None:
    """The shipped policy has three error rows that roll back, and both feeds share their alpha."""
    meters = error_meters(DIRECT)
    assert [m.p0 for m in meters] == [0.01, 0.02, 0.05]
    assert sum(m.alpha for m in meters) * len(FEEDS) == pytest.approx(0.005)
