"""The view of a watch: whole, JSON, and saying the same as the watch."""

import json
from typing import Any

import pytest

from tests.core.player import Player, World, down_from, play, steady
from tests.core.watches import NEW, OLD, SLOW, T0, fails, ok, opening, policy, sampled
from watchdog.core.model import Split, Value
from watchdog.core.report import view


def seen(player: Player) -> dict[str, Any]:
    """The view as it goes over the wire."""
    shown: dict[str, Any] = json.loads(json.dumps(view(player.watch), allow_nan=False))
    return shown


def row(shown: dict[str, Any], row_id: str) -> dict[str, Any]:
    return next(c for c in shown["criteria"] if c["id"] == row_id)


def test_a_running_watch() -> None:
    shown = seen(play(World(requests=steady(100.0, 0.2))).run(1200.0))
    assert (shown["id"], shown["revision"], shown["previous"]) == ("w1", NEW, {OLD: 100})
    assert (shown["state"], shown["window"], shown["outcome"]) == ("watching", "short_term", None)
    assert shown["cutover_at"] == "2023-11-14T22:13:20.000Z"
    assert shown["coverage"]["immediate"] == 1.0
    assert [w["state"] for w in shown["windows"]] == ["done", "open", "waiting"]
    errors = row(shown, "success.error_rate")
    assert errors["verdict"] == "PASS"
    assert errors["value"] == pytest.approx(0.002)
    assert errors["n"] > 20_000
    assert 0.0 <= errors["fullness"] < 0.5
    assert {p["state"] for p in shown["probes"]} == {"passing"}


def test_a_pending_watch_has_no_windows_yet() -> None:
    shown = seen(Player(World(), opening(cutover_at=None, split=Split.of({OLD: 100}))))
    assert shown["state"] == "pending"
    assert shown["windows"] == []
    assert shown["ends_at"] is None
    assert shown["coverage"] == {}


def test_a_rollback_shows_its_proof_and_where_it_stands() -> None:
    down = down_from(100.0)
    player = play(World(public=down, own=down)).run(107.0)
    shown = seen(player)
    assert shown["rollback"]["state"] == "settling"
    assert shown["rollback"]["from"] == {NEW: 100}
    assert shown["rollback"]["to"] == {OLD: 100}
    assert "failed 5 times in a row" in shown["rollback"]["proof"]
    ended = seen(player.run())
    assert ended["outcome"] == "rolled_back"
    assert ended["incident"]["resolved_at"] is not None
    assert ended["windows"][1]["state"] in {"none", "waiting", "done"}


def test_a_hold_is_shown_with_its_reason() -> None:
    down = down_from(100.0)
    shown = seen(play(World(public=down, own=down, control=down)).run(120.0))
    assert shown["state"] == "held"
    assert shown["hold"]["kind"] == "shared"
    assert "api-00001 fails the same probe" in shown["hold"]["reason"]
    failing = row(shown, "immediate.health_check")
    assert failing["verdict"] == "FAIL"


def test_fullness_rises_with_the_evidence_and_is_whole_at_the_alarm() -> None:
    made = policy(
        success_criteria=[{"metric": "error_rate", "target": "< 1%", "action": "investigate"}],
        alert_thresholds=None,
        rollback=None,
    )
    player = play(World(requests=lambda at: (5.0, 50.0) if at > T0 + 300.0 else (0.0, 50.0)), made)
    found = [row(seen(player.run(s)), "success.error_rate")["fullness"] for s in (290.0, 325.0, 335.0, 400.0)]
    assert found == sorted(found)
    assert found[0] < 0.1
    assert found[-1] == 1.0


def test_the_exact_share_of_passed_probes_is_reported() -> None:
    once = lambda n, at: fails(at) if n == "health" and at == T0 + 100.0 else ok(at)  # noqa: E731
    shown = seen(play(World(public=once)).run(800.0))
    health = row(shown, "success.health_check")
    assert health["n"] == 2 * 161 - 1 or health["n"] == 2 * 160 or health["n"] > 300
    assert health["bad"] == 1
    assert health["value_text"] == "99.69 %"


def test_a_gauge_shows_its_last_reading() -> None:
    player = play(World(requests=None)).run(100.0)
    player.fold(sampled("cpu_usage", 100.0, Value(0.42), width=60.0))
    shown = row(seen(player), "alert.cpu_usage.critical")
    assert shown["value"] == 0.42
    assert shown["value_text"] == "42 %"


def test_a_window_that_was_not_seen_is_unverified_in_the_view() -> None:
    shown = seen(play(World(requests=None), lags=SLOW).run(2000.0))
    assert shown["windows"][0]["verdict"] == "UNVERIFIED"
    assert shown["windows"][0]["coverage"] == 0.0
    assert row(shown, "success.error_rate")["verdict"] in {"INCONCLUSIVE", "ERROR"}
