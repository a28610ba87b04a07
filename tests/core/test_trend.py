"""A leak is said before its limit breaks, and noise that remembers itself is not taken for one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.core.trend import BUCKET_S, LEAST, Trend, growth

HOURS = 23
MEMORY = 0.95


def watched(slope_per_hour: float, *, start: float = 0.4, noise: float = 0.0, seed: int = 1) -> Trend:
    """A day of readings a minute: a line, and noise whose neighbours resemble each other."""
    rng = random.Random(seed)
    trend, wobble = Trend(), 0.0
    for minute in range(HOURS * 60):
        wobble = MEMORY * wobble + rng.gauss(0.0, noise)
        trend = trend.add(3600.0 + 60.0 * minute, start + slope_per_hour * minute / 60.0 + wobble)
    return trend


def test_a_leak_is_found_with_its_rate_and_the_time_that_is_left() -> None:
    found = growth(watched(0.02, noise=0.003), 0.9)

    assert found is not None
    assert found.per_hour == pytest.approx(0.02, rel=0.1)
    assert found.reaches_in_s == pytest.approx((0.9 - found.level) / found.per_hour * 3600.0)
    assert found.confidence > 0.999


def test_nothing_is_said_in_the_first_two_hours() -> None:
    trend = Trend()
    for minute in range(int(LEAST * BUCKET_S / 60)):
        trend = trend.add(3600.0 + 60.0 * minute, 0.4 + 0.002 * minute)

    assert growth(trend, 0.9) is None


def test_growth_that_ends_long_after_the_watch_is_nobodys_worry() -> None:
    assert growth(watched(0.002), 0.9) is None


def test_a_gauge_that_falls_or_stands_still_does_not_grow() -> None:
    assert growth(watched(-0.01), 0.9) is None
    assert growth(watched(0.0), 0.9) is None


def test_noise_that_remembers_itself_rarely_looks_like_a_leak() -> None:
    """Asked every quarter hour of 100 days: at most one day in ten warns (docs/evidence.md has the larger run)."""
    warned = 0
    for seed in range(100):
        trend = watched(0.0, start=0.5, noise=0.006, seed=seed)
        done = trend.buckets
        warned += any(growth(Trend(done[: n + 1]), 0.9) is not None for n in range(LEAST, len(done)))

    assert warned <= 10


@given(st.lists(st.tuples(st.floats(0, 10_000), st.floats(0, 1)), max_size=60))
def test_state_is_bounded_and_old_readings_change_nothing_that_is_done(readings: list[tuple[float, float]]) -> None:
    trend = Trend()
    for end, x in readings:
        before = trend.buckets
        trend = trend.add(end, x)
        assert trend.buckets[: len(before) - 1] == before[: len(before) - 1]
        starts = [b.start for b in trend.buckets]
        assert starts == sorted(set(starts))
