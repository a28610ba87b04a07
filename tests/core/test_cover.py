"""Covered time: a union that never shrinks, never counts twice, and stays small."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.core.cover import KEEP, LATE_S, Cover

WINDOWS = ((0.0, 900.0), (900.0, 3600.0), (3600.0, 86_400.0))


def covered(spans: list[tuple[float, float]]) -> Cover:
    cover = Cover()
    for start, end in spans:
        cover = cover.add(start, end, lambda: WINDOWS)
    return cover


def test_touching_intervals_are_one_and_a_gap_stays_a_gap() -> None:
    cover = covered([(0.0, 5.0), (5.0, 10.0), (10.4, 15.0), (30.0, 35.0)])
    assert cover.spans == ((0.0, 15.0), (30.0, 35.0))
    assert cover.seconds(0, WINDOWS[0]) == 20.0


def test_the_same_interval_again_counts_once_and_a_late_one_fills_its_gap() -> None:
    cover = covered([(0.0, 60.0), (120.0, 180.0), (0.0, 60.0), (120.0, 180.0), (60.0, 120.0)])
    assert cover.spans == ((0.0, 180.0),)


def test_an_empty_interval_covers_nothing() -> None:
    assert covered([(5.0, 5.0), (9.0, 7.0)]) == Cover()


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 30)), max_size=40), st.randoms())
def test_the_order_does_not_matter(found: list[tuple[int, int]], shuffler: random.Random) -> None:
    spans = [(2.0 * start, 2.0 * (start + length)) for start, length in found]
    shuffled = list(spans)
    shuffler.shuffle(shuffled)
    one, other = covered(spans), covered(shuffled)
    for i, window in enumerate(WINDOWS):
        assert one.seconds(i, window) == pytest.approx(other.seconds(i, window))


def test_a_day_of_gaps_is_summed_up_and_stays_small() -> None:
    """Every other 60 s sample arrives: half of each window is covered, and only the last spans are kept apart."""
    cover = Cover()
    for k in range(0, 1440, 2):
        cover = cover.add(60.0 * k, 60.0 * (k + 1), lambda: WINDOWS)
    assert len(cover.spans) <= KEEP
    assert cover.spans[0][0] <= 86_400.0 - LATE_S
    for i, (start, end) in enumerate(WINDOWS):
        assert cover.seconds(i, (start, end)) == pytest.approx((end - start) / 2, abs=60.0)


def test_an_interval_counts_in_every_window_that_it_lies_in() -> None:
    cover = covered([(880.0, 940.0)])
    assert [cover.seconds(i, w) for i, w in enumerate(WINDOWS)] == [20.0, 40.0, 0.0]
