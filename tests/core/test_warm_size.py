"""How the target is warmed: as many requests at a time as instances served before, and not longer than it may."""

from typing import Any

import pytest

from tests.core.drive import BOTH, CONTROL, DOWN, HANGS, OK, Drive, opening
from watchdog.core import schedule
from watchdog.core.commands import Restore
from watchdog.core.probing import Purpose, Role


def warm(drive: Drive) -> list[schedule.Ask]:
    return [a for a in schedule.plan(drive.watch).asks if a.purpose is Purpose.WARM]


def alarmed(**changes: Any) -> Drive:
    """Counts have proven the release bad, and the target is being warmed."""
    drive = Drive(opening(tags=CONTROL, cold_start=False, **changes))
    for minute in range(5):
        drive.counts(60.0, 100.0, minute * 60.0, minute * 60.0 + 60.0)
        if drive.watch.warming is not None:
            return drive
    raise AssertionError("no alarm")


@pytest.mark.parametrize("instances, at_once", [(None, 1), (0.0, 1), (0.4, 1), (6.0, 6), (6.6, 7), (300.0, 20)])
def test_one_request_for_each_instance_that_served_before(instances: float | None, at_once: int) -> None:
    baselines = {} if instances is None else {"instances": instances}
    drive = alarmed(baselines=baselines)
    assert [(a.role, a.every_s, a.at_once) for a in warm(drive)] == [(Role.CONTROL, 1.0, at_once)]


def test_beside_a_confirmation_the_target_is_warmed_too_and_nothing_waits_for_it() -> None:
    drive = Drive(opening(tags=BOTH, baselines={"instances": 4.0}))
    assert warm(drive) == []
    drive.probe(DOWN, 5)
    assert [(a.probe, a.at_once) for a in warm(drive)] == [("health", 4)]
    for k in range(1, 5):
        drive.confirm(DOWN, 5 + k, k)
    assert any(isinstance(c, Restore) for c in drive.commands)
    assert warm(drive) == []


def test_one_instance_or_no_tag_needs_no_more_than_the_control() -> None:
    for changes in ({"tags": BOTH}, {"tags": (), "baselines": {"instances": 4.0}}):
        drive = Drive(opening(**changes))
        drive.probe(DOWN, 5)
        assert warm(drive) == []


def slow_start() -> Drive:
    """A watch whose probe may time out for 20 s."""
    first = opening(tags=())
    policy = dict(first.policy)
    policy["probes"] = {"health": {**policy["probes"]["health"], "startup_s": 20.0}}
    return Drive(opening(tags=(), policy=policy))


def test_a_short_run_of_timeouts_is_no_evidence_and_a_longer_one_is() -> None:
    drive = slow_start()
    drive.probe(HANGS, 0, took=3.0)
    drive.probe(HANGS, 5, took=3.0)
    assert drive.watch.missing["health"] == "starting"
    stream = drive.watch.streams.get(("probes", "health", ""))
    assert stream is None or not stream.series.bad
    drive.probe(OK, 10)
    assert "health" not in drive.watch.missing
    assert drive.watch.confirmations == {}


def test_any_other_failure_counts_at_once() -> None:
    drive = slow_start()
    drive.probe(DOWN, 0)
    assert "health" not in drive.watch.missing
    assert any(s.series.bad for s in drive.watch.streams.values())


def test_a_start_that_takes_too_long_is_rolled_back() -> None:
    drive = slow_start()
    drive.probe(HANGS, 0, took=3.0)
    for k in range(1, 25):
        drive.probe(HANGS, 3 + k, purpose=Purpose.CONFIRM, attempt=k, took=3.0)
        if any(isinstance(c, Restore) for c in drive.commands):
            break
    assert 20.0 <= drive.watch.at - (drive.watch.cutover_at or 0.0) <= 24.0
