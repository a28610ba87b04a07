"""Incidents of the past, recorded live: whatever is changed in the fold, they have to be judged as they were then."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.recordings.record import SCENARIOS, load, name_of, recordings
from watchdog.core.model import Action
from watchdog.core.policy import Policy
from watchdog.emulator.scenario import load_scenario
from watchdog.engine.backtest import rejudge
from watchdog.engine.replay_journal import Journal, read_journal

AGAIN = "a changed judgement has to be wanted: look at it, then `python -m tests.recordings.record --accept`"


def journal(path: Path) -> Journal:
    return read_journal(load(path), path.name)


def recording(name: str) -> Journal:
    return journal(next(path for path in recordings() if name_of(path) == name))


def test_every_scenario_has_its_recording_and_they_are_small() -> None:
    assert {name_of(path) for path in recordings()} == set(SCENARIOS)
    assert sum(path.stat().st_size for path in recordings()) < 400_000


@pytest.mark.parametrize("path", recordings(), ids=name_of)
def test_a_recorded_incident_is_judged_as_it_was(path: Path) -> None:
    found = rejudge(journal(path))
    assert found.differences == (), AGAIN
    assert found.live.outcome == load_scenario(SCENARIOS[name_of(path)]).expect.outcome


def without_rollbacks(policy: Policy) -> Policy:
    """The same rows, none of which may do more than ask a person to look."""
    rows = [replace(row, action=Action.INVESTIGATE) for row in policy.rows]
    return policy.model_copy(update={"rows": tuple(rows)})


def test_without_rows_that_roll_back_the_evidence_ends_where_traffic_was_moved() -> None:
    one = recording("hard-down")
    found = rejudge(one, without_rollbacks(Policy.from_canonical(one.opening.policy)))
    assert (found.change, found.again.outcome) == ("no_longer_rolled_back", None)
    assert found.unknown_after_s is not None
    assert found.live.turn is not None
    assert found.unknown_after_s >= found.live.turn.at_s


def test_a_trial_is_told_to_whoever_asks_for_another_policy() -> None:
    one = recording("error-rate")
    found = rejudge(one, without_rollbacks(Policy.from_canonical(one.opening.policy)))
    assert any("a trial had part of the traffic elsewhere" in note for note in found.notes)


def test_rows_of_journeys_that_were_run_have_their_evidence() -> None:
    one = recording("error-rate")
    policy = Policy.from_canonical(one.opening.policy)
    found = rejudge(one, without_rollbacks(policy))
    assert policy.journeys
    assert [u for u in found.unseen if u.criterion.startswith("journey")] == []
