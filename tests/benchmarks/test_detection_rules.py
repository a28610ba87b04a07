"""The other rules, the streams and the bounds of the comparison do what they are said to do."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest

from benchmarks.detection_parts.bounds import bounds_s, divergence, floor_s, lorden_requests, wilson
from benchmarks.detection_parts.play import OURS, plan, play, play_all
from benchmarks.detection_parts.rivals import (
    RIVALS,
    argo,
    burn_rate,
    cusum,
    flagger,
    kayenta,
    naive,
    sprt,
    three_in_a_row,
)
from benchmarks.detection_parts.scores import ratio, tally
from benchmarks.detection_parts.shared import OURS_ALONE, OURS_ASKING, play_shared
from benchmarks.detection_parts.streams import DAY_S, SLOT_S, Days, Ints, Onset, Scenario, coarser, draw, generator
from benchmarks.detection_parts.twin import DIRECT, MONITORING

FLAT = Scenario(name="flat", diurnal=0.0)


def by_minute(*minutes: tuple[int, int], control: tuple[Ints, Ints] | None = None) -> Days:
    """One watch whose minutes have (bad, total) requests, all in the minute's first slot."""
    slots = 12 * len(minutes)
    bad, total = np.zeros((slots, 1), dtype=np.int32), np.zeros((slots, 1), dtype=np.int32)
    for i, (b, n) in enumerate(minutes):
        bad[12 * i], total[12 * i] = b, n
    one = np.ones(1)
    return Days(
        scenario=FLAT, rps=one, phase=0 * one, offset=0 * one, onset=inf * one, bad=bad, total=total, control=control
    )


GOOD, BAD, NONE = (0, 100), (2, 100), (0, 0)


def test_naive_takes_the_first_bad_minute() -> None:
    assert naive(by_minute(GOOD, (1, 100), BAD), DIRECT)[0] == 180.0


def test_three_in_a_row_forgets_at_a_good_minute() -> None:
    assert three_in_a_row(by_minute(BAD, BAD, GOOD, BAD, BAD, BAD), DIRECT)[0] == 360.0


def test_argo_fails_at_the_fourth_bad_minute_however_far_apart() -> None:
    minutes = [BAD, GOOD, GOOD] * 4
    assert argo(by_minute(*minutes), DIRECT)[0] == 600.0


def test_flagger_rolls_back_on_the_tick_after_the_fifth() -> None:
    minutes = [BAD, GOOD, NONE] * 5
    assert flagger(by_minute(*minutes), DIRECT)[0] == (12 + 1 + 1) * 60.0


def test_burn_rate_needs_both_windows() -> None:
    assert burn_rate(by_minute(*[GOOD] * 60, (7, 100), GOOD), DIRECT)[0] == inf
    assert burn_rate(by_minute(*[GOOD] * 60, (60, 100), GOOD), DIRECT)[0] == 61 * 60.0


def test_sprt_and_cusum_see_a_fault_and_cusum_forgets_the_good_hours_before() -> None:
    late = by_minute(*[(0, 1000)] * 200, *[(60, 1000)] * 60)
    assert sprt(late, DIRECT)[0] == inf
    assert cusum(late, DIRECT)[0] == pytest.approx(201 * 60.0, abs=120)


def test_kayenta_passes_what_looks_like_its_control_and_fails_what_is_clearly_worse() -> None:
    rng = np.random.default_rng(1)
    slots = 12 * 30

    def counts(share: float) -> tuple[Ints, Ints]:
        total = np.full((slots, 1), 500, dtype=np.int32)
        return rng.binomial(total, share).astype(np.int32), total

    for share, found in ((0.01, False), (0.06, True)):
        bad, total = counts(share)
        one = np.ones(1)
        days = Days(
            scenario=FLAT,
            rps=one,
            phase=0 * one,
            offset=0 * one,
            onset=inf * one,
            bad=bad,
            total=total,
            control=counts(0.01),
        )
        assert np.isfinite(kayenta(days, DIRECT)[0]) == found
    assert np.isnan(kayenta(by_minute(BAD), DIRECT)[0]), "without a control it was not asked"


def test_streams_are_the_same_for_the_same_seed_and_as_busy_as_said() -> None:
    scenario = Scenario(name="half", base=0.005, rates=(1.0, 200.0))
    one, two = (draw(scenario, generator(3, "half", 0), each=6) for _ in range(2))
    assert (one.bad == two.bad).all()
    assert (one.total == two.total).all()
    for rps in scenario.rates:
        at = one.rps == rps
        mean = one.total[:, at].sum() / (at.sum() * DAY_S)
        assert mean == pytest.approx(rps, rel=0.02)
        assert one.bad[:, at].sum() / one.total[:, at].sum() == pytest.approx(0.005, rel=0.1)


def test_a_fault_counts_from_its_moment_on_even_inside_a_slot() -> None:
    scenario = Scenario(name="step", base=0.0, onset=Onset.LATE, after=1.0, rates=(1000.0,), diurnal=0.0)
    days = draw(scenario, generator(4, "step", 0), each=3)
    for watch in range(3):
        slot, inside = divmod(days.onset[watch], SLOT_S)
        assert days.bad[: int(slot), watch].sum() == 0
        share = days.bad[int(slot), watch] / days.total[int(slot), watch]
        assert share == pytest.approx(1 - inside / SLOT_S, abs=0.04)
        assert (days.bad[int(slot) + 1 :, watch] == days.total[int(slot) + 1 :, watch]).all()


def test_flapping_is_bad_for_its_part_of_the_time() -> None:
    scenario = Scenario(
        name="flap", base=0.0, onset=Onset.LATE, after=1.0, flap_s=5.0, flap_every_s=60.0, rates=(100.0,)
    )
    days = draw(scenario, generator(4, "flap", 0), each=2)
    late = coarser(days.bad, 12)[13 * 60 :].sum() / coarser(days.total, 12)[13 * 60 :].sum()
    assert late == pytest.approx(1 / 12, rel=0.05)


def test_the_bound_is_that_of_lorden_and_of_the_ladder() -> None:
    """Figures worked out by hand: ln(17280 / 0.005) = 15.06 over KL(1.5 %, 1 %) = 0.0011."""
    assert divergence(0.015, 0.01) == pytest.approx(0.001095, rel=1e-3)
    assert lorden_requests(0.015, 1.0, DIRECT) == pytest.approx(13_750, rel=2e-3)
    assert floor_s(1.0, DIRECT) == 30.0
    assert floor_s(0.03, DIRECT) == 120.0
    assert floor_s(1.0, MONITORING) == 180.0
    assert floor_s(0.01, DIRECT) == inf
    days = draw(Scenario(name="x", onset=Onset.LATE, after=0.03), generator(1, "x", 0), each=40, controls=1)
    bounds = bounds_s(0.03, days, DIRECT) - 120.0
    flat = lorden_requests(0.03, 1.0, DIRECT)
    assert bounds[days.rps == 1.0].min() == pytest.approx(flat / 1.5, rel=0.1), "at the top of the day"
    assert bounds[days.rps == 1.0].max() == pytest.approx(flat / 0.5, rel=0.1), "at its bottom"


def test_intervals_are_wilsons() -> None:
    """Against figures of his formula worked out elsewhere; nothing found still leaves an upper end."""
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(5, 100) == pytest.approx((0.0215, 0.1118), abs=1e-4)


def test_parts_add_up_and_every_rule_is_asked() -> None:
    """Two parts of one scenario, the first with a watch that the core itself judges too."""
    scenario = Scenario(
        name="6 %", onset=Onset.LATE, after=0.06, span_s=3 * 3600.0, late_s=(3600.0, 7200.0), rates=(5.0, 50.0)
    )
    tasks = plan([scenario], seed=1, each=90, control_share=0.1, replayed=1, replay_s=inf)
    assert [t.each for t in tasks] == [80, 10]
    (played,) = play_all(tasks, jobs=1)
    assert played.replayed == 1
    assert len(played.rps) == 180
    ours = tally(played, DIRECT, OURS, 50.0)
    assert (ours.watches, ours.false, ours.missed) == (90, 0, 0)
    assert 30.0 < (ours.delay(0.5) or 0.0) < 90.0
    assert tally(played, DIRECT, "Kayenta-like", 50.0).watches == 9
    assert 0.5 < ratio(played, DIRECT, 50.0).mean < 1.5
    assert {rule for _, rule in played.alarms} == {OURS, *RIVALS}


def test_a_part_is_the_same_whoever_plays_it() -> None:
    (task,) = plan(
        [Scenario(name="0.5 %", base=0.005, rates=(2.0,))], seed=9, each=2, control_share=0.5, replayed=0, replay_s=0.0
    )
    one, two = play(task), play(task)
    for key, alarms in one.alarms.items():
        assert np.array_equal(alarms, two.alarms[key], equal_nan=True)


def test_the_control_holds_a_shared_outage_and_lets_a_guilty_release_go() -> None:
    rates = (10.0, 20.0, 30.0, 40.0)
    hours = Scenario(name="two hours", span_s=7200.0, late_s=(1800.0, 3600.0), rates=rates)
    outage = play_shared(replace(hours, shared_share=0.5, shared_s=300.0), seed=2, each=3)
    assert outage.rolled_back[OURS_ALONE] == (1.0,) * 4
    assert outage.rolled_back[OURS_ASKING] == (0.0,) * 4
    guilty = play_shared(replace(hours, onset=Onset.LATE, after=0.5), seed=2, each=3)
    assert guilty.rolled_back[OURS_ASKING] == (1.0,) * 4
