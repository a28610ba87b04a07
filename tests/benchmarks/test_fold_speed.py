"""The benchmark of the fold still makes days that the policy judges, and the fold's state does not grow with them."""

from collections.abc import Sequence

import pytest

from benchmarks.fold_speed import FAST, SLOW, Day, Feed, checks_of, make_day, shipped_policy, states_at
from watchdog.engine.replay import judge


@pytest.fixture(scope="module")
def day() -> Day:
    policy = shipped_policy()
    *earlier, last = policy.windows
    short = policy.model_copy(update={"windows": (*earlier, last.model_copy(update={"until_s": 5 * 3600.0}))})
    checks = checks_of(short)

    def feed(source: str, width_and_lag: Sequence[float], *named: str) -> Feed:
        return Feed(source=source, period_s=width_and_lag[0], lag_s=width_and_lag[1], checks=named)

    return make_day(short, [feed("cloud_run", SLOW, *checks), feed("request_log", FAST, "error_rate")], seed=1)


def test_a_healthy_watch_of_every_row_passes(day: Day) -> None:
    found = judge(day.opening, day.events)
    assert found.outcome is not None
    assert (found.outcome.value, [told.reason for told in found.decisions]) == ("passed", [])


def test_the_state_does_not_grow_with_the_length_of_the_watch(day: Day) -> None:
    after_two, at_the_end = states_at(day, [2.0, 5.0])
    assert at_the_end <= 1.1 * after_two
