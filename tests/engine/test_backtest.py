"""An ended watch judged again: its own policy reproduces it, another one says what it knows and what it cannot."""

from dataclasses import replace
from typing import Any

import pytest

from tests.engine.evidence import Recorded, broken, counts, healthy, policy, recorded, table
from watchdog.core.events import Event, TrafficSeen, Writing, Written
from watchdog.core.model import Split
from watchdog.core.policy import Policy
from watchdog.engine import replay
from watchdog.engine.backtest import NO_SAMPLES, Rejudged, Totals, rejudge
from watchdog.engine.replay_csv import read_csv
from watchdog.engine.replay_journal import Journal
from watchdog.engine.replay_policy import trials, under

STRICT = policy()
LENIENT = policy(success_criteria=[{"metric": "error_rate", "target": "< 1%", "action": "investigate"}])
LOOSE = policy(success_criteria=[{"metric": "error_rate", "target": "< 40%", "action": "rollback"}])


def lived(by: Policy, *, share: float, until: float = 600.0) -> Recorded:
    """A watch that was run live under a policy, with this share of errors after two minutes."""
    evidence = read_csv(table(broken(healthy(until), after=120.0, share=share)), "x", by)
    opening = replay.opening_of(by, ends_s=until)
    return recorded(opening, replay.batches(evidence.samples))


def journal(made: Recorded, **shown: Any) -> Journal:
    return Journal(opening=made.opening, events=tuple(made.events), shown={**made.shown, **shown})


def again(made: Recorded, by: Policy | None = None, *, mark: str = "") -> Rejudged:
    return rejudge(journal(made, mark={"mark": mark} if mark else None), by)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_its_own_policy_reproduces_it(share: float) -> None:
    found = again(lived(STRICT, share=share))
    assert (found.own, found.differences, found.change) == (True, (), "same")
    assert found.again == found.live
    assert (found.again.turn is None) is (share == 0.0)


def test_a_stricter_policy_catches_what_stayed_and_says_when_and_why() -> None:
    found = again(lived(LENIENT, share=0.3), STRICT, mark="wrong")
    assert (found.change, found.had_to_go, found.unknown_after_s) == ("newly_rolled_back", "yes", None)
    turn = found.again.turn
    assert turn is not None
    assert 120.0 < turn.at_s < 300.0
    assert (turn.how, turn.criterion) == ("automatic", "error_rate < 1%")
    assert "limit < 1%" in turn.proof
    assert found.live.outcome != "rolled_back"


def test_after_a_real_rollback_nothing_is_known_of_what_would_have_come() -> None:
    found = again(lived(STRICT, share=1.0), LENIENT, mark="wrong")
    assert (found.change, found.had_to_go) == ("no_longer_rolled_back", "no")
    assert found.again.outcome is None
    assert found.unknown_after_s is not None
    assert 0.0 < found.unknown_after_s - (found.live.turn or pytest.fail("was rolled back")).at_s < 2.0


def test_a_looser_limit_is_later_by_so_much() -> None:
    found = again(lived(LENIENT, share=0.6), LOOSE)
    strict = again(lived(LENIENT, share=0.6), STRICT)
    assert found.again.turn is not None
    assert strict.again.turn is not None
    assert found.again.turn.at_s > strict.again.turn.at_s


def test_a_row_that_nobody_sampled_is_told_and_is_no_pass() -> None:
    by = policy(
        success_criteria=[
            {"metric": "error_rate", "target": "< 1%", "action": "rollback"},
            {"metric": "p95_latency", "target": "< 500ms", "action": "rollback"},
        ]
    )
    found = again(lived(STRICT, share=0.0), by)
    assert [(u.criterion, u.action, u.why) for u in found.unseen] == [("p95_latency < 500ms", "rollback", NO_SAMPLES)]
    assert found.again.outcome == "unverified"
    assert "usable evidence" in found.again.reason


def test_a_probe_that_is_asked_otherwise_now_has_no_answers_then() -> None:
    probes = {"health": {"path": "/another"}}
    by = policy(probes=probes, success_criteria=[{"metric": "health_check", "target": "100%", "action": "rollback"}])
    made = lived(STRICT, share=0.0)
    assert STRICT.probes.keys() == by.probes.keys()
    (unseen,) = again(made, by).unseen
    assert unseen.why.startswith(NO_SAMPLES)
    assert "path" in unseen.why


def test_a_trials_shift_of_traffic_is_no_evidence_and_is_told() -> None:
    made = lived(LENIENT, share=0.0)
    at, part = made.events[20].at, Split.of({"previous": 20, "candidate": 80})
    shift: list[Event] = [
        Writing(at=at, after=part),
        TrafficSeen(at=at, split=part),
        Written(at=at, result="trial", reason="", before=made.opening.split, after=part),
        TrafficSeen(at=at, split=part),
        Written(at=at, result="put_back", reason="", before=part, after=made.opening.split),
    ]
    events = [*made.events[:21], *shift, *made.events[21:]]
    assert [(t.start, t.end, t.after) for t in trials(events)] == [(at, at, part)]
    assert under(STRICT, made.opening, events)[1] == under(STRICT, made.opening, made.events)[1]
    found = rejudge(replace(journal(made), events=tuple(events)), STRICT)
    assert any("In fact a trial had part of the traffic elsewhere" in note for note in found.notes)


def test_totals_count_by_what_people_said() -> None:
    totals = Totals()
    totals.add(again(lived(STRICT, share=1.0), LENIENT, mark="wrong"))
    totals.add(again(lived(LENIENT, share=1.0), STRICT, mark="wrong"))
    totals.add(again(lived(STRICT, share=1.0), mark="right"))
    totals.add(again(lived(LENIENT, share=0.0), STRICT))
    assert (totals.judged, totals.would_roll_back, totals.not_reproduced) == (4, 2, 0)
    assert totals.newly_caught == {"yes": 1}
    assert totals.newly_missed == {"no": 1}
    assert totals.marked == {"wrong": 1, "right": 1}


def test_counts_of_the_new_row_are_taken_where_there_are_any() -> None:
    rows = [*healthy(600.0), *counts("p95_latency", until=600.0, bad=25.0)]
    by = policy(success_criteria=[{"metric": "p95_latency", "target": "< 500ms", "action": "rollback"}])
    evidence = read_csv(table(rows), "x", by)
    made = recorded(replay.opening_of(STRICT, ends_s=600.0), replay.batches(evidence.samples))
    found = again(made, by)
    assert found.unseen == ()
    assert found.change == "newly_rolled_back"
