"""What a watch can see with its traffic is said honestly: more traffic and more time see smaller faults."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.core.frontier import delay, reach, sentence
from watchdog.core.sequential import ERRORS, Meter, fit


def meter(period_s: float = 5.0) -> Meter:
    return Meter.start(p0=0.01, alpha=0.005, burstiness=1.0, ladder=fit(ERRORS, period_s), watch_s=86_400.0)


@given(st.floats(0.05, 1000.0), st.floats(120.0, 80_000.0))
def test_more_traffic_never_sees_less(rate: float, within: float) -> None:
    little, much = reach(meter(), rate, within), reach(meter(), rate * 2, within)

    assert little.bad_share is None or (much.bad_share is not None and much.bad_share <= little.bad_share + 1e-6)


@given(st.floats(0.05, 1000.0), st.floats(120.0, 40_000.0))
def test_more_time_never_sees_less(rate: float, within: float) -> None:
    soon, late = reach(meter(), rate, within), reach(meter(), rate, within * 2)

    assert soon.bad_share is None or (late.bad_share is not None and late.bad_share <= soon.bad_share + 1e-6)


def test_what_is_within_reach_is_found_in_time() -> None:
    found = reach(meter(), 10.0, 3600.0)

    assert found.bad_share is not None
    takes = delay(meter(), found.bad_share, 10.0)
    assert takes is not None
    assert takes <= 3600.0


def test_a_fault_at_the_limit_itself_is_never_promised() -> None:
    assert delay(meter(), 0.01, 1000.0) is None


def test_a_lagging_feed_cannot_promise_five_minutes() -> None:
    """Cloud Monitoring is 240 s behind and needs three bad minutes: the sentence says so."""
    assert reach(meter(60.0), 100.0, 300.0, lag_s=240.0).bad_share is None
    said = sentence(meter(60.0), "error_rate", 100.0, (300.0, 3600.0), lag_s=240.0)
    assert "not at all within 5 min" in said


@pytest.mark.parametrize("rate,within,research", [(1.0, 300.0, 0.10), (10.0, 3600.0, 0.015), (1.0, 3600.0, 0.025)])
def test_the_frontier_agrees_with_the_simulated_one(rate: float, within: float, research: float) -> None:
    """The grid of research/statistics.md: detectable in 95 % of late faults."""
    found = reach(meter(), rate, within)

    assert found.bad_share is not None
    assert 0.5 * research <= found.bad_share <= 1.6 * research
