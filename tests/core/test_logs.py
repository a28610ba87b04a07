"""New errors in the log: how the row is judged, what is kept of them, and what people are told."""

from typing import Any

import pytest

from tests.core.policies import build
from tests.core.test_checks import play, titles
from tests.core.watches import NEW, OLD, T0, TABLES, opening, policy, state_of
from watchdog.core import clues
from watchdog.core import watch as folding
from watchdog.core.checks import LOGS
from watchdog.core.commands import Notify
from watchdog.core.events import Sampled
from watchdog.core.model import Clue, Evidence, Failed, Missing, Passed, Sample, Verdict
from watchdog.core.policy_text import describe
from watchdog.core.report import view
from watchdog.core.text import iso

NEW_ERRORS = Failed("new_errors")
BOOM = Clue("k1", 12, "KeyError: 'plate'", "app/couriers.py in create", T0 + 4.0)
NOTE = "a new kind of error: 12 times: \"KeyError: 'plate'\" (app/couriers.py in create)"


def looked(at_s: float, evidence: Evidence, note: str = "", *found: Clue, start_s: float | None = None) -> Sampled:
    """A look at the log, `at_s` seconds after the cutover, at what was logged since the one before."""
    start = T0 + (at_s - 15.0 if start_s is None else start_s)
    sample = Sample(
        source="error_log", check=LOGS, revision=NEW, start=start, end=T0 + at_s, seen=T0 + at_s, evidence=evidence,
        note=note, clues=found,
    )  # fmt: skip
    return Sampled(at=T0 + at_s, samples=(sample,))


def test_a_new_error_asks_a_person_and_quotes_it_and_stays_broken_to_the_end() -> None:
    watch, commands = play(policy(logs=True), looked(15, Passed()), looked(30, NEW_ERRORS, NOTE, BOOM))

    assert state_of(watch, LOGS).verdict is Verdict.WARN
    assert titles(commands)[-1] == "Investigate: barq-fleet-api (us-central1): logs failing"
    said = next(c.body for c in reversed(commands) if isinstance(c, Notify))
    assert NOTE in said["happened"]
    assert watch.rollback is None
    watch, _ = folding.advance(watch, looked(45, NEW_ERRORS, NOTE))
    watch, _ = folding.advance(watch, looked(3600, Passed(), start_s=400))
    assert state_of(watch, LOGS).verdict is Verdict.WARN, "after its time nothing is judged"
    assert "KeyError: 'plate'" in state_of(watch, LOGS).reason


def test_only_the_first_minutes_count_and_a_quiet_log_passes() -> None:
    quiet, _ = play(policy(logs={"until": "2m"}), looked(15, Passed()), looked(120, Passed()))
    late, commands = play(policy(logs={"until": "2m"}), looked(15, Passed()), looked(150, NEW_ERRORS, NOTE, BOOM))

    assert state_of(quiet, LOGS).verdict is Verdict.PASS
    assert state_of(late, LOGS).verdict is Verdict.PASS
    assert len(titles(commands)) == 1, "only the opening was told"
    assert [c.text for c in clues.top(late)] == ["KeyError: 'plate'"], "kept for whoever looks for a cause"


def test_missing_is_neither() -> None:
    watch, _ = play(policy(logs=True), looked(15, Missing("access")))
    state = state_of(watch, LOGS)
    assert (state.verdict, state.reason) == (Verdict.INCONCLUSIVE, "no evidence: access")


def test_with_action_rollback_it_rolls_back() -> None:
    watch, _ = play(policy(logs={"action": "rollback"}), looked(15, NEW_ERRORS, NOTE, BOOM))
    watch, _ = folding.advance(watch, looked(40, NEW_ERRORS, NOTE))
    assert watch.rollback is not None
    assert watch.rollback.trigger.sentence == f"logs: {NOTE}"


def test_counts_only_grow_and_what_is_taken_back_is_gone() -> None:
    more, less = BOOM._replace(times=20), BOOM._replace(times=3)
    other = Clue("k2", 1, "boom")
    of = policy(logs=True)
    watch, _ = play(of, looked(15, NEW_ERRORS, NOTE, BOOM, other), looked(30, NEW_ERRORS, NOTE, more))
    watch, _ = folding.advance(watch, looked(45, NEW_ERRORS, NOTE, less, other._replace(times=0)))
    assert [(c.key, c.times, c.at) for c in clues.top(watch)] == [("k1", 20, T0 + 4.0)]


def test_memory_is_bounded_by_the_most_frequent() -> None:
    many = [Clue(f"k{i:03}", i + 1, f"error {i}") for i in range(300)]
    watch, _ = play(policy(logs=True), looked(15, NEW_ERRORS, NOTE, *many))
    kept = clues.top(watch, 1000)
    assert [c.times for c in kept] == list(range(300, 300 - clues.MOST, -1))


def test_a_replay_gives_the_same_and_the_logs_of_others_are_not_kept() -> None:
    of = policy(logs=True)
    events = [looked(15, Passed()), looked(30, NEW_ERRORS, NOTE, BOOM)]
    foreign = Sampled(
        at=T0 + 31.0,
        samples=(events[1].samples[0].__class__(**{**_fields(events[1].samples[0]), "revision": OLD}),),
    )
    watch, _ = play(of, *events, foreign)
    again, _ = folding.replay([opening(of), *events, foreign])
    assert again is not None
    assert view(again) == view(watch)
    assert view(watch)["log"]["errors"] == [
        {"text": BOOM.text, "where": BOOM.where, "count": 12, "first_at": iso(BOOM.at)}
    ]


def _fields(sample: Sample) -> dict[str, Any]:
    return {name: getattr(sample, name) for name in Sample.__dataclass_fields__}


@pytest.mark.parametrize(
    "section, text",
    [
        (True, "an error is logged in the first 5m that the revision before did not log"),
        ({"until": "10m", "at_least": 3}, "an error is logged 3 times in the first 10m"),
    ],
)
def test_the_section_makes_its_row(section: Any, text: str) -> None:
    of = policy(logs=section)
    (row,) = (r for r in of.rows if r.metric == LOGS)
    assert (row.label, row.action.value, row.failures) == ("logs failing", "investigate", 1)
    assert text in describe(of)
    assert of.__class__.from_canonical(of.canonical()) == of


def test_false_turns_it_off() -> None:
    assert policy(logs=False).logs is None


@pytest.mark.parametrize(
    "section, told",
    [
        ({"ignore": ["(("]}, '"((" is not a regular expression'),
        ({"at_least": 0}, "logs.at_least"),
        ({"untill": "5m"}, "logs.untill"),
        ({"until": "soon"}, "logs.until"),
        ("yes please", "logs"),
    ],
)
def test_mistakes_are_told(section: Any, told: str) -> None:
    built = build(**{**TABLES, "logs": section})
    assert built.policy is None
    assert any(told in f"{'.'.join(map(str, p.path))}: {p.message}" for p in built.problems), built.problems
