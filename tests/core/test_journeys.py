"""A journey is judged as a probe is: confirmed before anything moves, where its row says so, and asked afterwards."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.core.player import Answers, Player, World, play, well
from tests.core.watches import T0, fails, ok
from watchdog.core import watch as folding
from watchdog.core.journal import decode, encode
from watchdog.core.policy import Policy
from watchdog.core.probing import ProbeAnswer, StepAnswer
from watchdog.core.report import view
from watchdog.core.schedule import plan
from watchdog.errors import ConfigError
from watchdog.policy_file import parse_policy

TEXT = """
version: 1
service: {project: barq-fleet, region: us-central1, name: barq-fleet-api}
windows:
  immediate: {until: 15m, probe_every: 5s}
  short_term: {until: 60m, probe_every: 15s}
probes:
  health: {path: /health}
journeys:
  courier: {file: journeys/courier.yaml, every: 2m}
  vehicle: {file: journeys/vehicle.yaml, every: 2m, windows: short_term}
success_criteria:
  - {metric: health_check, target: "100%", action: rollback}
MORE
"""
ROLLBACK = 'rollback: {immediately_if: ["journeys failing"]}'
COURIER = "journey.courier"


def policy(more: str = ROLLBACK) -> Policy:
    return parse_policy(TEXT.replace("MORE", more), Path("policy.yaml")).policy


def broken(start_s: float, until_s: float = 1e9, name: str = COURIER) -> Answers:
    """Only this journey fails; everything that probes see is well."""

    def answer(asked: str, at: float) -> ProbeAnswer:
        sick = asked == name and T0 + start_s <= at < T0 + until_s
        return replace(fails(at), detail="step create a courier: answered 500") if sick else ok(at)

    return answer


def go(public: Answers, more: str = ROLLBACK, *, control: Answers = well, **changes: Any) -> Player:
    of = policy(more)
    changes = {"armed": (*of.probes, *of.journeys), **changes}
    return play(World(public=public, own=public, control=control), of, **changes)


def test_a_broken_journey_rolls_back_once_it_is_confirmed_while_every_probe_is_green() -> None:
    player = go(broken(300.0)).run(500.0)
    assert player.restores == 1
    (decided,) = player.told("decision")
    assert 300.0 + 20.0 <= decided <= 300.0 + 121.0 + 20.5
    reason = player.announced("decision")[0].fields["reason"]
    assert "journey courier failed 3 times in a row" in reason
    assert "step create a courier: answered 500; needed 3" in reason
    assert player.watch.outcome == "rolled_back", player.watch.reason


def test_no_single_failure_and_no_two_in_a_row_move_anything() -> None:
    for lasts_s in (1.0, 12.0):
        player = go(broken(241.0, 241.0 + lasts_s)).run()
        assert (player.restores, player.watch.outcome) == (0, "passed"), player.watch.reason
        assert not player.messages("warning")


def test_a_row_that_asks_for_a_person_asks_once_and_moves_nothing() -> None:
    more = 'window_criteria: {immediate: [{metric: journeys, target: "100%", action: investigate}]}'
    player = go(broken(60.0), more).run()
    (message,) = player.messages("warning")
    assert message["title"].startswith("Journey courier of barq-fleet-api")
    assert message["severity"] == "warning"
    assert "journey config" not in message["todo"]
    assert "watchdog journey journeys/courier.yaml" in message["todo"]
    assert player.restores == 0
    assert player.watch.outcome == "passed"
    assert player.row("window.immediate.journeys").verdict == "WARN"


def test_one_that_never_passed_pages_and_cannot_roll_back() -> None:
    player = go(broken(0.0), armed=("health",), tags=()).run(600.0)
    assert player.restores == 0
    assert "has never passed" in player.messages("warning")[0]["did"]


def test_a_previous_revision_that_fails_it_too_holds_the_rollback() -> None:
    sick = broken(60.0)
    player = go(sick, control=sick).run(400.0)
    assert player.told("held")
    assert "fails the same journey" in player.announced("held")[0].fields["reason"]


def test_after_a_rollback_it_has_to_pass_once_more() -> None:
    world = World(public=broken(60.0), own=broken(60.0), restored=broken(0.0, 1e9))
    of = policy()
    player = play(world, of, armed=(*of.probes, *of.journeys)).run(500.0)
    assert player.watch.outcome == "failed"
    assert "did not help: journey courier fails" in player.watch.reason
    good = go(broken(60.0)).run(500.0)
    verified = [e for e in good.journal if getattr(e, "purpose", "") == "verify" and e.probe == COURIER]  # type: ignore[union-attr]
    assert len(verified) == 1


def test_it_runs_in_its_windows_only_and_others_are_not_uncovered_for_it() -> None:
    player = go(well).run(600.0)
    assert {a.probe for a in plan(player.watch).asks} == {"health", COURIER}
    player.run(1200.0)
    assert {a.probe for a in plan(player.watch).asks} == {"health", COURIER, "journey.vehicle"}
    player.run()
    assert player.watch.outcome == "passed", player.watch.reason
    assert player.row("immediate.journeys").verdict == "PASS"


def test_one_that_cannot_be_run_is_said_and_leaves_nothing_uncovered() -> None:
    missing = {COURIER: "not set: WATCHDOG_JOURNEY__EMAIL", "journey.vehicle": "not set: WATCHDOG_JOURNEY__EMAIL"}
    player = go(well, unable=missing).run()
    assert player.watch.outcome == "passed", player.watch.reason
    assert player.row("immediate.journeys").reason == "not set: WATCHDOG_JOURNEY__EMAIL"
    assert [j["left_out"] for j in view(player.watch)["journeys"]] == list(missing.values())


def test_a_journal_of_journeys_replays_to_the_same_watch_and_keeps_their_steps() -> None:
    def stepped(name: str, at: float) -> ProbeAnswer:
        answer = broken(60.0)(name, at)
        step = StepAnswer(name="log in", result="passed", started_at=at, ended_at=at + 0.01, status=200, detail="x")
        cleanup = replace(step, name="log out", status=204, cleanup=True, ended_at=at + 0.02)
        return replace(answer, steps=(step, cleanup)) if name.startswith("journey.") else answer

    player = go(stepped, "").run(300.0)
    again = [decode(*encode(e)[:2], e.at, encode(e)[2]) for e in player.journal]
    assert again == player.journal
    twin, _ = folding.replay(again)
    assert twin is not None
    for part in ("probes", "journeys", "criteria", "decisions", "timeline"):
        assert view(twin)[part] == view(player.watch)[part], part
    (courier, _) = view(player.watch)["journeys"]
    assert [s["name"] for s in courier["steps"]] == ["log in", "log out"]
    assert {round(r.took_s, 3) for r in player.watch.own_requests} >= {0.01, 0.02}


@pytest.mark.parametrize(
    "old, new, said",
    [
        ('"journeys failing"', '"journey.curier failing"', 'no journey "curier"; did you mean "journey.courier"?'),
        ('"journeys failing"', '"journeys < 90%"', 'a journey works or does not; write "100%", or "journeys failing"'),
        ("journeys/courier.yaml", "journeys/curier.yaml", "policy.yaml:10: journeys.courier.file: journeys/cur"),
        ("every: 2m}", "every: 10s}", "journeys.courier.every: 10s is below the journey's timeout, 20s"),
        ("windows: short_term", "windows: extended", "journeys.vehicle.windows: there is no window extended"),
        ("windows: short_term", "windows: later", '"later" is not a window; use immediate, short_term, extended'),
        ("every: 2m}", "every: 2m, confirm: {failures: 1}}", "a journey needs at least 2 in a row"),
        ("every: 2m}", "evry: 2m}", 'journeys.courier.evry: unknown key; did you mean "every"?'),
        ("MORE", 'alert_thresholds: [{metric: journeys, warning: "> 1%", action: investigate}]', "is no alert"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_line(old: str, new: str, said: str) -> None:
    text = TEXT if old == "MORE" else TEXT.replace("MORE", ROLLBACK)
    assert old in text
    with pytest.raises(ConfigError) as caught:
        parse_policy(text.replace(old, new, 1), Path("policy.yaml"))
    assert any(said in problem for problem in caught.value.problems), caught.value.problems


def test_what_is_wrong_inside_a_journey_is_told_with_its_own_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "trip.yaml").write_text("steps:\n  - {name: a, path: /a}\n  - {name: b, path: '/${x}'}\n")
    text = TEXT.replace("MORE", ROLLBACK).replace("journeys/courier.yaml", "trip.yaml")
    with pytest.raises(ConfigError) as caught:
        parse_policy(text, tmp_path / "policy.yaml")
    assert caught.value.problems == (
        f'{tmp_path}/trip.yaml:3: steps[1].path: undefined variable "x"; known: now, run, today',
    )
