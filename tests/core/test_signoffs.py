"""What no machine can answer is asked of people at the end of its window, and stays open until one of them answers."""

from pathlib import Path

import pytest

from tests.core.player import Player, World, play
from watchdog.core.policy import Policy
from watchdog.core.report import view
from watchdog.core.report_text import markdown
from watchdog.errors import ConfigError
from watchdog.policy_file import parse_policy

TEXT = """
version: 1
service: {project: barq-fleet, region: us-central1, name: barq-fleet-api}
windows:
  immediate: {until: 15m, probe_every: 5s}
  short_term: {until: 60m, probe_every: 15s}
probes: {health: {path: /health}}
signoffs:
  smoke_test: {question: "Do core features work?", window: immediate}
  user_reports: {question: "No user-reported issues?", window: short_term}
success_criteria:
  - {metric: health_check, target: "100%", action: rollback}
"""


def policy(text: str = TEXT) -> Policy:
    return parse_policy(text, Path("policy.yaml")).policy


def asked(player: Player) -> list[str]:
    return [m["title"] for m in player.messages("warning") if m["title"].startswith("Please answer")]


def states(player: Player) -> dict[str, str]:
    return {s["name"]: s["state"] for s in view(player.watch)["signoffs"]}


def test_each_is_asked_once_at_the_end_of_its_window_and_the_last_one_while_answers_are_taken() -> None:
    player = play(World(requests=None), policy()).run(890.0)
    assert (asked(player), states(player)) == ([], {"smoke_test": "waiting", "user_reports": "waiting"})
    player.run(905.0)
    assert asked(player) == ["Please answer: barq-fleet-api (us-central1): smoke_test"]
    player.run(3000.0)
    assert len(asked(player)) == 2
    player.operate("signoff", name="user_reports", reason="asked support")
    player.run()
    assert states(player) == {"smoke_test": "open", "user_reports": "signed"}
    assert player.watch.outcome == "passed"
    assert player.watch.reason.endswith("Open, nobody has confirmed: smoke_test.")
    report = markdown(view(player.watch), [])
    assert "| Do core features work? (smoke_test) | **open** |" in report
    assert "| No user-reported issues? (user_reports) | signed | alice |" in report


def test_what_was_confirmed_early_is_not_asked_and_nothing_is_said_of_it_in_the_end() -> None:
    player = play(World(requests=None), policy()).run(60.0)
    for name in ("smoke_test", "user_reports"):
        player.operate("signoff", name=name)
    player.run()
    assert asked(player) == []
    assert "nobody has confirmed" not in player.watch.reason


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("window: immediate}", "window: extended}", "policy.yaml:9: signoffs.smoke_test.window: there is no window"),
        ("window: immediate}", "window: soon}", '"soon" is not one of immediate, short_term, extended'),
        ('question: "Do core features work?", ', "", "signoffs.smoke_test.question: is missing"),
        ("smoke_test:", "Smoke test:", "is no name for a sign-off"),
    ],
)
def test_mistakes_are_told(old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy(TEXT.replace(old, new))
    assert any(said in problem for problem in caught.value.problems), caught.value.problems
