"""Is there enough evidence for a rollout's next step? Coverage, what could have been found by now, and the verdicts."""

from pathlib import Path
from typing import Any

import pytest

from tests.core.drive import BOTH, DOWN, NEW, OK, OLD, T0, TEXT, Drive, opening
from watchdog.core.events import Lag, Sampled
from watchdog.core.model import Counts, Sample, Split
from watchdog.core.policy import Policy
from watchdog.core.probing import Purpose, Role
from watchdog.core.promotion import may_promote
from watchdog.core.report import view
from watchdog.policy_file import parse_policy

LOG = Lag(source="request_log", check="error_rate", period_s=5.0, lag_s=10.0)
"""A feed that is prompt, so that minutes suffice."""


class Canary:
    """A revision at 5 %, with its own tag, probed there and seen by the request log."""

    def __init__(self, share: int = 5, **changes: Any) -> None:
        split = Split.of({OLD: 100 - share, NEW: share})
        self.drive = Drive(opening(split=split, tags=BOTH, lags=(LOG,), **changes))
        self.at_s = 0.0

    def run(self, for_s: float, rate: float, bad: float = 0.0) -> "Canary":
        """Traffic of `rate` a second for a while, a share `bad` of it failing; the probes pass."""
        end = self.at_s + for_s
        while self.at_s < end:
            at = self.at_s
            self.drive.probe(OK, at, role=Role.PUBLIC if self.drive.watch.sole else Role.OWN)
            if at >= 15.0:
                evidence = Counts(rate * 5.0 * bad, rate * 5.0)
                begin, seen = T0 + at - 15.0, T0 + at + 0.1
                self.drive.put(Sampled(at=seen, samples=(_sample(evidence, begin, seen),)))
            self.at_s += 5.0
        return self

    def promote(self, share: int) -> "Canary":
        self.drive.traffic({OLD: 100 - share, NEW: share} if share < 100 else {NEW: 100}, self.at_s)
        return self

    def gate(self, **how: Any) -> tuple[bool, str]:
        return may_promote(view(self.drive.watch), **{"age_s": 1.0, **how})


def _sample(evidence: Counts, begin: float, seen: float) -> Sample:
    return Sample(
        source=LOG.source,
        check=LOG.check,
        revision=NEW,
        start=begin,
        end=begin + LOG.period_s,
        seen=seen,
        evidence=evidence,
    )


def test_enough_clean_traffic_allows_the_next_step_and_says_what_would_have_shown() -> None:
    canary = Canary().run(900, rate=5.0)
    allowed, reason = canary.gate()
    assert allowed, reason
    assert f"{NEW} has had 5 % for 15 min: a fault above" in reason
    assert "(request_log), none was found, coverage 100 %" in reason


def test_little_traffic_needs_more_time_and_says_what_could_be_found_by_now() -> None:
    canary = Canary().run(120, rate=0.5)
    allowed, reason = canary.gate()
    assert not allowed
    assert "wait" in reason
    assert canary.run(2400, rate=0.5).gate()[0]


def test_who_asks_for_less_waits_less_and_who_asks_for_more_waits_longer() -> None:
    canary = Canary().run(400, rate=2.0)
    assert canary.gate(detect=0.5)[0]
    allowed, reason = canary.gate(detect=0.015)
    assert not allowed
    assert "1.5 % is asked for" in reason


def test_each_step_has_to_earn_the_next_one_anew() -> None:
    """One watch; its windows and what has been seen begin again with each increase, the target stays."""
    canary = Canary().run(900, rate=5.0)
    assert canary.gate()[0]
    canary.promote(50).run(20, rate=50.0)
    allowed, reason = canary.gate()
    assert not allowed, reason
    assert "has had 50 %" in reason
    assert canary.run(600, rate=50.0).gate()[0]
    canary.promote(100).run(20, rate=100.0)
    assert not canary.gate()[0]
    watch = canary.drive.watch
    assert watch.target.split.percents() == {OLD: 100}
    assert watch.anchor == pytest.approx(T0 + 1520.0)
    assert [e.kind for e in watch.timeline].count("promoted") == 2
    assert canary.drive.writes == 0


def test_the_message_of_a_step_says_what_can_be_found_with_the_new_share() -> None:
    canary = Canary().run(900, rate=5.0).promote(50)
    (message,) = canary.drive.messages("promoted")
    assert "At 49.7 requests/s error_rate (request_log) is found above" in str(message["evidence"])


def test_nobody_goes_on_with_a_fault_on_the_way_or_proven() -> None:
    canary = Canary().run(800, rate=5.0)
    canary.drive.probe(DOWN, canary.at_s, role=Role.OWN)
    assert canary.gate() == (False, f"{NEW} at 5 %: a failure is being confirmed at this moment.")
    for k in range(1, 5):
        canary.drive.probe(DOWN, canary.at_s + k, purpose=Purpose.CONFIRM, role=Role.OWN, attempt=k)
    allowed, reason = canary.gate()
    assert not allowed
    assert "it is rolled back: health_check failing" in reason
    assert canary.drive.writes == 1


def test_a_broken_row_speaks_against_it_whatever_else_was_seen() -> None:
    canary = Canary(mode="observe").run(900, rate=20.0)
    assert canary.gate()[0]
    canary.run(120, rate=20.0, bad=0.3)
    canary.drive.written(canary.at_s, "observed")
    allowed, reason = canary.gate()
    assert not allowed
    assert "it would have been rolled back (observe mode): error_rate: 30 %" in reason


def test_a_row_that_asks_for_a_person_speaks_against_it_too() -> None:
    canary = Canary(policy=_investigating().canonical()).run(600, rate=20.0)
    assert "(probe health)" in canary.gate(detect=0.5)[1]  # no row on errors rolls back: judged by the probes
    canary.run(120, rate=20.0, bad=0.3)
    assert canary.drive.writes == 0
    allowed, reason = canary.gate()
    assert not allowed
    assert "broken now: error_rate < 1%" in reason


def _investigating() -> Policy:
    text = TEXT.format(mode="automatic").replace('"< 1%", action: rollback', '"< 1%", action: investigate')
    return parse_policy(text, Path("policy.yaml")).policy


def test_a_watch_that_is_paused_pending_unattended_or_over_says_so() -> None:
    canary = Canary().run(800, rate=5.0)
    assert "Nobody runs watch w1" in canary.gate(age_s=120.0)[1]
    canary.drive.operate("pause", canary.at_s)
    assert "paused" in canary.gate()[1]
    canary.drive.operate("resume", canary.at_s)
    canary.drive.operate("finish", canary.at_s + 1)
    canary.drive.tick(canary.at_s + 2)
    assert canary.gate(age_s=1e6)[0], canary.gate(age_s=1e6)
    pending = Drive(opening(cutover_at=None, split=Split.of({OLD: 100})))
    assert may_promote(view(pending.watch), age_s=1.0) == (
        False,
        f"{NEW} has no traffic yet, so nothing was seen of it.",
    )


def test_without_evidence_nothing_is_promoted() -> None:
    canary = Canary()
    canary.drive.tick(600)
    allowed, reason = canary.gate()
    assert not allowed
    assert "only 0 % of that time has evidence" in reason


def test_counts_that_come_late_from_before_a_step_are_not_lost() -> None:
    """A deploy tool steps every two minutes, Cloud Monitoring is four behind: what failed at 5 % proves the fault."""
    drive = Drive(opening(split=Split.of({OLD: 95, NEW: 5}), tags=BOTH))
    drive.traffic({OLD: 50, NEW: 50}, 120)
    for minute in range(2):
        drive.counts(30, 60, 30.0 + 60 * minute, 90.0 + 60 * minute)
    drive.traffic({NEW: 100}, 340)
    for minute in range(2, 5):
        drive.counts(30, 60, 30.0 + 60 * minute, 90.0 + 60 * minute)
    assert drive.writes == 1
    assert drive.watch.rollback is not None
    assert "error_rate" in drive.watch.rollback.trigger.criterion
