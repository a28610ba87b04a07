"""The incident report, word by word."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web import views
from watchdog.core.advice import headline, next_steps, quote, release_steps
from watchdog.core.report_text import first_failure, markdown, offset_text, span_text

GOLDEN = Path(__file__).parent / "golden"


def probed(offset_s: float, said: str, probe: str = "health", role: str = "public") -> dict[str, Any]:
    answered = views.T0 + offset_s
    body = {"probe": probe, "role": role, "answer": {"e": [said], "t": [answered - 0.1, answered]}}
    return {"kind": "probed", "at": answered, "late": False, "body": body}


JOURNAL: list[dict[str, Any]] = [
    probed(60, "f"), probed(61, "p"), probed(117, "p"), probed(122.1, "f"), probed(123.1, "f"),
    probed(123.2, "f", role="control"), probed(124.1, "m"), probed(124.2, "p", "ready"), probed(126.8, "f"),
    {"kind": "watch_resumed", "at": views.at(130), "late": True, "body": {"down_since": views.T0 + 128}},
    probed(128, "f", "ready"),
]  # fmt: skip


@pytest.mark.parametrize(
    "name, make",
    [
        ("rolled_back", views.rolled_back),
        ("observed", views.observed),
        ("held", views.held),
        ("passed", views.passed),
    ],
)
def test_the_report_reads_as_agreed(name: str, make: Callable[[], dict[str, Any]]) -> None:
    """When the wording is meant to change, delete the golden file, run again and read what was written."""
    text = markdown(make(), JOURNAL if name == "rolled_back" else [])
    golden = GOLDEN / f"{name}.md"
    if not golden.exists():
        golden.write_text(text, "utf-8")
        pytest.fail(f"{golden} did not exist; it is written now: read it")

    assert text == golden.read_text("utf-8")


def test_the_first_failure_is_that_of_the_run_that_was_going_on_at_the_decision() -> None:
    """An earlier blip that recovered, the control's answers and missing ones neither begin nor break the run."""
    assert first_failure(JOURNAL, views.T0 + 126.9) == views.T0 + 122.1
    assert first_failure([], views.T0) is None
    assert first_failure([probed(1, "f"), probed(2, "p")], views.T0 + 3) is None


@given(st.text())
def test_no_word_from_outside_can_break_the_report(word: str) -> None:
    view = views.rolled_back(reason=word, version=word, deployer=word, notes_of_deploy=word, notes=[word])
    view["criteria"][0] |= {"reason": word, "label": word}
    view["probes"][0] |= {"name": word, "last_detail": word}
    view["timeline"][0] |= {"text": word}

    text = markdown(view, [])

    plain = markdown(views.rolled_back(version="1", deployer="x", notes_of_deploy="x", notes=["x"]), [])
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [line for line in plain.splitlines() if line.startswith("#")] or not word.strip()
    columns = 0
    for line in text.splitlines():
        bars = len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) if line.startswith("|") else 0
        assert bars == columns or 0 in (bars, columns), line
        columns = bars
    assert not re.search(r"(?<!\\)<script", markdown(views.rolled_back(reason=f"<script>{word}"), []))


@given(st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_a_quoted_word_is_one_argument_to_a_shell(word: str) -> None:

    assert shlex.split(quote(word)) == [word]


@pytest.mark.parametrize(
    "span_s, text",
    [(0, "0.0 s"), (0.44, "0.4 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min"),
     (200, "3 min 20 s"), (3599.7, "1 h"), (83520, "23 h 12 min"), (172800, "2 d"), (190000, "2 d 4 h"), (-5, "0.0 s")],
)  # fmt: skip
def test_spans_read_as_a_person_says_them(span_s: float, text: str) -> None:
    assert span_text(span_s) == text


def test_offsets_have_a_sign_and_none_without_an_origin() -> None:
    assert offset_text(10.0, 10.0) == "0 s"
    assert offset_text(8.0, 10.0) == "−2.0 s"
    assert offset_text(None, 10.0) == offset_text(8.0, None) == ""


STATES = ["pending", "watching", "confirming", "held", "awaiting_approval", "rolling_back", "verifying", "paused"]
OUTCOMES = ["passed", "rolled_back", "failed", "superseded", "overridden", "unverified"]


@pytest.mark.parametrize(
    "change", [{"state": s} for s in STATES] + [{"state": "ended", "outcome": o} for o in OUTCOMES]
)
def test_there_is_always_something_to_say_about_what_to_do(change: dict[str, Any]) -> None:
    steps = next_steps(views.watching(**change))

    assert steps
    assert all(step.sentence for step in steps)


@pytest.mark.parametrize(
    "change, said",
    [
        ({}, "3 of 3 probes pass and no criterion is broken."),
        ({"reason": "Every rollback criterion held."}, "Every rollback criterion held."),
        ({"state": "pending"}, "The revision has no traffic yet; the watch begins when it has."),
        ({"state": "paused"}, "Paused: evidence is gathered, nothing is done automatically."),
        ({"state": "awaiting_approval", "decisions": [{"reason": "error_rate > 5%"}]},
         "Waits for your approval: error_rate > 5%."),
        ({"rollback": {"to": {views.OLD: 100}, "proof": "health_check failing"}},
         f"Going back to {views.OLD} 100 %: health_check failing."),
        ({"probes": []}, "No evidence has arrived yet."),
        ({"criteria": [views.criterion("a", "cpu_usage > 70%", "WARN", reason="4 of 5 points"),
                       views.criterion("b", "error_rate > 2%", "FAIL", reason="8 % failed")]},
         "error_rate > 2%: 8 % failed."),
    ],
)  # fmt: skip
def test_the_headline_says_what_is_going_on(change: dict[str, Any], said: str) -> None:
    assert headline(views.watching(**change)) == said


def test_somebody_is_asked_to_take_the_page_until_somebody_has() -> None:
    asked = "watchdog ack w9q1c4"
    view = views.rolled_back()

    assert asked in [s.command for s in next_steps(view)]
    view["incident"]["acknowledged_at"] = views.at(200)
    assert asked not in [s.command for s in next_steps(view)]


def test_the_release_is_explained_only_when_a_rollback_has_pinned_the_traffic() -> None:
    assert release_steps(views.rolled_back())
    assert not release_steps(views.observed())
    assert not release_steps(views.watching())


def test_a_rollback_that_did_not_help_advises_against_another() -> None:
    view = views.rolled_back(outcome="failed")

    assert "Do not roll back further" in next_steps(view)[0].sentence


def test_a_failed_watch_without_a_known_target_leads_to_the_list_of_revisions() -> None:
    view = views.observed() | {"target": {"split": {}, "source": "none"}, "previous": {}}

    assert any("gcloud run revisions list" in step.command for step in next_steps(view))
