"""Checks that pass or fail: how their sections are read, how they are judged, what the journal keeps of them."""

import json
from typing import Any

import pytest

from tests.core.policies import build
from tests.core.watches import NEW, T0, TABLES, opening, policy, state_of
from watchdog.core import watch as folding
from watchdog.core.commands import Command, Notify
from watchdog.core.events import Sampled
from watchdog.core.journal import decode, encode
from watchdog.core.model import Action, Evidence, Failed, Missing, Passed, Sample, Verdict
from watchdog.core.policy import Policy
from watchdog.core.policy_text import describe
from watchdog.core.report import view
from watchdog.core.state import Watch

VERSION: dict[str, Any] = {"path": "/version", "json": "version"}
PASSED, WRONG = Passed(), Failed("version")


def checked(at_s: float, evidence: Evidence, note: str = "", check: str = "check.version") -> Sampled:
    """A check made `at_s` seconds after the cutover."""
    at = T0 + at_s
    sample = Sample(
        source="version", check=check, revision=NEW, start=at, end=at + 60.0, seen=at, evidence=evidence, note=note
    )
    return Sampled(at=at, samples=(sample,))


def play(of: Policy, *events: Sampled) -> tuple[Watch, list[Command]]:
    """The watch after those events, each as the journal gives it back."""
    watch, commands = folding.opened(opening(of))
    given = list(commands)
    for event in events:
        kind, schema, body = encode(event)
        again = decode(kind, schema, event.at, json.loads(json.dumps(body)))
        assert again == event
        watch, more = folding.advance(watch, again)
        given += more
    return watch, given


def titles(commands: list[Command]) -> list[str]:
    return [c.body["title"] for c in commands if isinstance(c, Notify)]


# --- judged -------------------------------------------------------------------------------------------------------


def test_a_check_breaks_after_so_many_failures_in_a_row_and_asks_a_person() -> None:
    of = policy(version_check=VERSION)
    note = "answers 1.3.9, expected 1.4.0"
    watch, commands = play(of, checked(5, PASSED), *(checked(60 + 10 * i, WRONG, note) for i in range(3)))

    state = state_of(watch, "check.version")
    assert state.verdict is Verdict.WARN
    assert state.reason == "version: answers 1.3.9, expected 1.4.0 (3 times in a row)"
    assert titles(commands)[-1] == "Investigate: barq-fleet-api (us-central1): version failing"
    assert watch.rollback is None


def test_fewer_failures_prove_nothing_and_do_not_pass() -> None:
    watch, commands = play(policy(version_check=VERSION), checked(5, PASSED), checked(60, WRONG), checked(70, WRONG))

    assert state_of(watch, "check.version").verdict is Verdict.INCONCLUSIVE
    assert state_of(watch, "check.version").reason == "failed last; not proven yet"
    assert len(titles(commands)) == 1, "only the opening was told"


def test_it_clears_after_as_many_passes() -> None:
    failed = [checked(10 * i, WRONG) for i in range(3)]
    of = policy(version_check=VERSION)
    almost, _ = play(of, *failed, checked(60, PASSED), checked(120, PASSED))
    cleared, _ = play(of, *failed, *(checked(60.0 * i, PASSED) for i in (1, 2, 3)))

    assert state_of(almost, "check.version").verdict is Verdict.WARN
    assert state_of(cleared, "check.version").verdict is Verdict.PASS


def test_missing_is_neither_and_says_why() -> None:
    watch, _ = play(policy(version_check=VERSION), checked(5, Missing("no_expected_version")))

    state = state_of(watch, "check.version")
    assert (state.verdict, state.reason) == (Verdict.INCONCLUSIVE, "no evidence: no expected version")


def test_a_check_whose_action_is_rollback_rolls_back() -> None:
    of = policy(version_check={**VERSION, "action": "rollback", "failures": 2})
    events = [checked(10, WRONG, "answers 1"), checked(20, WRONG, "answers 1")]
    watch, _ = play(of, *events)
    watch, _ = folding.advance(watch, checked(40, WRONG, "answers 1"))

    assert watch.rollback is not None
    assert watch.rollback.trigger.sentence == "version: answers 1 (2 times in a row)"
    assert watch.decisions[-1].action is Action.ROLLBACK


def test_what_the_page_and_a_replay_say_is_the_same() -> None:
    of = policy(version_check=VERSION)
    events = [checked(10 * i, WRONG, "answers 1") for i in range(4)]
    watch, _ = play(of, *events)
    again, _ = folding.replay([opening(of), *events])

    assert again is not None
    assert view(again) == view(watch)
    shown = next(c for c in view(watch)["criteria"] if c["id"] == "check.version")
    assert (shown["verdict"], shown["threshold_text"], shown["action"]) == ("WARN", "failing", "investigate")


# --- read ---------------------------------------------------------------------------------------------------------


def test_the_sections_make_their_own_rows() -> None:
    of = policy(
        version_check={**VERSION, "note": "Cached image?"},
        edge={"certificate": True, "https": True, "headers": ["X-Frame-Options"], "cors": {"allowed": ["https://a.example"]}},
        jobs={"nightly": {"scheduler": "nightly-report"}, "cleanup": {"heartbeat": "1h", "action": "rollback"}},
    )  # fmt: skip
    found = {r.id: (r.label, r.action.value, r.failures) for r in of.rows if r.table == "checks"}

    assert found == {
        "check.version": ("version failing", "investigate", 3),
        "check.edge.certificate": ("edge.certificate failing", "investigate", 2),
        "check.edge.https": ("edge.https failing", "investigate", 2),
        "check.edge.headers": ("edge.headers failing", "investigate", 2),
        "check.edge.cors": ("edge.cors failing", "investigate", 2),
        "check.job.nightly": ("job.nightly failing", "investigate", 1),
        "check.job.cleanup": ("job.cleanup failing", "rollback", 1),
    }
    assert of.notes["check.version"] == "Cached image?"
    assert Policy.from_canonical(json.loads(json.dumps(of.canonical()))) == of
    assert "Checks: what must pass" in describe(of)
    assert "it fails 3 times in a row" in describe(of)


@pytest.mark.parametrize(
    "section, told",
    [
        ({"version_check": {}}, "has neither path nor url"),
        ({"version_check": {"path": "/v", "json": "a["}}, '"a[" is not a JMESPath expression'),
        ({"version_check": {"path": "/v", "expect": "tag"}}, '"tag" is not deploy, image or label:NAME'),
        ({"version_check": {"path": "/v", "pattern": "(("}}, '"((" is not a regular expression'),
        ({"version_check": {"path": "/v", "pattern": "1", "expect": "image"}}, "stands beside expect"),
        ({"edge": {}}, "asks for nothing"),
        ({"edge": {"cors": {"allowed": ["https://a.example/path"]}}}, "is not an origin"),
        ({"edge": {"headers": {"X Frame": "DENY"}}}, '"X Frame" is not the name of a header'),
        ({"jobs": {"a": {}}}, "has neither scheduler nor heartbeat"),
        ({"jobs": {"a": {"scheduler": "x", "heartbeat": "1h"}}}, "stands beside heartbeat"),
        ({"jobs": {"A b": {"heartbeat": "1h"}}}, "is no name for a job"),
        ({"success_criteria": [{"metric": "check.version", "target": "100%", "action": "rollback"}]}, "unknown metric"),
    ],
)
def test_mistakes_in_these_sections_are_told(section: dict[str, Any], told: str) -> None:
    built = build(**{**TABLES, **section})

    assert built.policy is None
    assert any(told in p.message for p in built.problems), built.problems
