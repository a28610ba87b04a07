"""Missing evidence is neither good news nor bad news: coverage, blindness, and how a watch ends."""

import pytest

from tests.core.player import Player, World, down_from, play, steady
from tests.core.watches import FAST, NEW, OLD, POLICY, SLOW, T0, missing, ok, opening, policy, sampled, verdicts
from watchdog.core import coverage
from watchdog.core.events import Lag, Sampled, Ticked
from watchdog.core.model import Counts, Missing, Outcome, Split, Value, Verdict
from watchdog.core.probing import ProbeAnswer
from watchdog.core.report import view


def blind(name: str, at: float) -> ProbeAnswer:
    """Our own network is gone."""
    return missing(at)


def monitored(**world: object) -> World:
    """Cloud Monitoring as it is: 60 s samples, up to 180 s late, asked once a minute."""
    made = World(period_s=60.0, seen_after_s=180.0, asked_every_s=60.0, source="cloud_run", requests=steady(600.0))
    for key, value in world.items():
        setattr(made, key, value)
    return made


def ended(player: Player) -> tuple[Outcome | None, str]:
    assert not player.watch.open
    return player.watch.outcome, player.watch.reason


# --- a healthy service passes, however long it is watched --------------------------------------------------------


@pytest.mark.parametrize("seconds", [30, 120, 240, 300, 360, 420, 480, 600, 900, 1000, 1800, 3600])
def test_a_healthy_service_passes_however_short_the_watch(seconds: int) -> None:
    """The tail behind the lag is left out; what has nothing left is inconclusive, not uncovered."""
    player = play(monitored(), lags=SLOW, ends_at=T0 + seconds).run()
    outcome, reason = ended(player)
    assert outcome is Outcome.PASSED, reason
    if seconds == 30:
        assert "error_rate < 1%" in reason
        assert verdicts(player.watch)["success.health_check"] is Verdict.PASS


@pytest.mark.parametrize("offset", [0.0, 1.0, 17.0, 31.0, 59.0])
def test_it_passes_however_the_samples_lie_around_the_cutover(offset: float) -> None:
    """Cloud Monitoring's minutes are not ours."""
    player = Player(World(requests=None), opening(lags=SLOW, ends_at=T0 + 420.0))
    for k in range(8):
        end = offset + 60.0 * k
        player.run(end + 184.0)
        if end - 60.0 >= 5.0 and player.watch.open:
            player.fold(sampled("error_rate", end, Counts(1, 900), width=60.0, seen_s=end + 184.0, source="cloud_run"))
    player.run()
    assert player.watch.outcome is Outcome.PASSED, player.watch.reason


def test_a_day_passes_and_says_what_stayed_inconclusive() -> None:
    player = play(monitored(), lags=SLOW).run()
    outcome, reason = ended(player)
    assert outcome is Outcome.PASSED
    assert "p95_latency < 500ms" in reason
    assert player.told("window_ended") == [1140.0, 3840.0]
    assert player.announced("window_ended")[0].fields["coverage"] == 1.0


# --- too little was seen -----------------------------------------------------------------------------------------


def test_without_any_metric_the_watch_is_unverified() -> None:
    player = play(World(requests=None), lags=SLOW).run()
    outcome, reason = ended(player)
    assert outcome is Outcome.UNVERIFIED
    assert reason == (
        "Only 0 % of the immediate window had usable evidence for its rollback criteria; 80 % is needed to say passed."
    )


@pytest.mark.parametrize("evidence", [Missing("no_series"), Missing("source_error"), Value(float("nan"))])
def test_missing_evidence_neither_passes_nor_rolls_back(evidence: Missing | Value) -> None:
    player = play(World(requests=None), ends_at=T0 + 900.0)
    for k in range(180):
        player.run(5.0 * k)
        player.fold(sampled("error_rate", 5.0 * k, evidence, seen_s=5.0 * k + 0.01))
    player.run()
    assert player.restores == 0
    assert ended(player)[0] is Outcome.UNVERIFIED
    assert verdicts(player.watch)["success.error_rate"] in {Verdict.INCONCLUSIVE, Verdict.ERROR}


@pytest.mark.parametrize("gap_s, outcome", [(100.0, Outcome.PASSED), (300.0, Outcome.UNVERIFIED)])
def test_the_floor_is_four_fifths_of_a_window(gap_s: float, outcome: Outcome) -> None:
    world = World(public=lambda n, at: missing(at) if 200.0 <= at - T0 < 200.0 + gap_s else ok(at))
    dead = Player(world, opening(ends_at=T0 + 1300.0))
    dead.run()
    assert dead.watch.outcome is outcome
    first = dead.announced("window_ended")[0].fields
    assert first["verified"] is (outcome is Outcome.PASSED)
    assert first["coverage"] == pytest.approx(1 - gap_s / 900.0, abs=0.01)


def test_our_own_downtime_counts_as_watched() -> None:
    player = play().run(300.0)
    player.now = T0 + 700.0
    player._queue.clear()
    player._asks.clear()
    player.fold(Ticked(at=T0 + 700.0))
    assert coverage.of_window(player.watch, 0, player.watch.at) == pytest.approx(265.0 / 650.0, abs=0.02)


def test_a_feed_that_is_empty_while_our_probes_are_answered_is_broken() -> None:
    """Probes are traffic: with all of it on one revision nothing at all cannot be true."""
    broken = monitored(requests=steady(0.0))
    player = play(broken, lags=SLOW, ends_at=T0 + 900.0).run()
    assert ended(player)[0] is Outcome.UNVERIFIED
    assert verdicts(player.watch)["success.error_rate"] is Verdict.INCONCLUSIVE


def test_too_little_traffic_is_inconclusive_and_does_not_prevent_passing() -> None:
    player = play(World(requests=steady(0.2)), ends_at=T0 + 900.0).run()
    outcome, reason = ended(player)
    assert outcome is Outcome.PASSED
    assert "error_rate < 1%" in reason
    assert "too little traffic so far" in player.row("success.error_rate").reason


def test_a_policy_without_rows_that_can_roll_back_proves_nothing() -> None:
    rows = [{"metric": "p95_latency", "target": "< 500ms", "action": "investigate"}]
    bare = policy(success_criteria=rows, alert_thresholds=None, rollback=None)
    player = play(of=bare, ends_at=T0 + 60.0).run()
    assert ended(player) == (Outcome.UNVERIFIED, "No rollback criterion had any evidence, so nothing can be said.")


def test_a_probe_row_is_covered_as_its_least_covered_probe() -> None:
    player = play(World(public=lambda n, at: missing(at) if n == "ready" else ok(at)), ends_at=T0 + 600.0).run()
    assert ended(player)[0] is Outcome.UNVERIFIED


def test_the_cold_start_is_not_watched_by_metrics_but_by_probes() -> None:
    player = play(World(requests=lambda at: (50.0, 50.0) if at <= T0 + 30.0 else (0.0, 50.0)), ends_at=T0 + 300.0).run()
    assert ended(player)[0] is Outcome.PASSED
    assert player.restores == 0
    down = play(World(public=down_from(0.0), own=down_from(0.0)), ends_at=T0 + 300.0).run()
    assert down.restores == 1


# --- two sources of one check ------------------------------------------------------------------------------------


def test_a_check_is_covered_by_whichever_source_answers() -> None:
    both = (*FAST, *SLOW)
    player = play(World(period_s=60.0, seen_after_s=180.0, source="cloud_run"), lags=both, ends_at=T0 + 1200.0).run()
    assert ended(player)[0] is Outcome.PASSED
    rule = next(r for r in player.watch.rules.rules if r.row.id == "success.error_rate")
    assert rule.alpha == pytest.approx(0.005 / 3 / 2), "three rows and two sources share the alpha"


# --- blindness ---------------------------------------------------------------------------------------------------


def test_silence_is_paged_after_five_minutes_on_a_direct_feed_and_ten_on_a_late_one() -> None:
    direct = play(World(requests=None)).run(2000.0)
    assert direct.told("blind") == [30.0 + 5.0 + 15.0 + 300.0 - 5.0]
    late = play(World(requests=None), lags=SLOW).run(2000.0)
    assert late.told("blind") == [30.0 + 240.0 + 600.0]
    assert direct.announced("blind")[0].fields["checks"] == ["error_rate"]
    assert direct.messages("blind")[0]["incident"] is None


def test_blindness_is_said_once_and_again_after_it_had_ended() -> None:
    def dead(name: str, at: float) -> ProbeAnswer:
        return missing(at) if 100.0 <= at - T0 < 600.0 or at - T0 >= 700.0 else ok(at)

    player = play(World(public=dead)).run(1500.0)
    assert len(player.announced("blind")) == 2
    assert player.restores == 0


def test_it_says_nothing_of_feeds_that_were_never_announced() -> None:
    player = play(World(requests=None), lags=()).run(2000.0)
    assert player.told("blind") == []


# --- how a watch ends --------------------------------------------------------------------------------------------


def test_open_alarms_at_the_end_fail_the_watch() -> None:
    held = play(World(public=down_from(880.0), control=down_from(0.0)), ends_at=T0 + 900.0).run()
    outcome, reason = ended(held)
    assert outcome is Outcome.FAILED
    assert reason.startswith("Ended while held: health_check failing")


def test_a_precaution_is_no_failure() -> None:
    """Somebody holds a watch that is well to its end."""
    player = play(ends_at=T0 + 300.0).run(100.0)
    player.operate("hold")
    player.run()
    assert ended(player)[0] is Outcome.PASSED


def test_a_signal_that_nobody_acted_on_fails_the_watch() -> None:
    player = play(ends_at=T0 + 300.0).run(100.0)
    player.operate("pause")
    player.signal("database_corruption")
    player.run()
    outcome, reason = ended(player)
    assert outcome is Outcome.FAILED
    assert "database corruption" in reason
    assert "paused" in reason


def test_warnings_do_not_fail_a_watch() -> None:
    hot = World()
    player = play(hot, ends_at=T0 + 900.0)
    for k in range(1, 14):
        player.run(60.0 * k)
        player.fold(sampled("cpu_usage", 60.0 * k, Value(0.95), width=60.0))
    player.run()
    outcome, reason = ended(player)
    assert outcome is Outcome.PASSED
    assert "warnings: cpu_usage > 70% and cpu_usage > 90%" in reason


# --- promotion ---------------------------------------------------------------------------------------------------


def test_a_promotion_starts_the_windows_and_what_they_saw_again() -> None:
    canary = Split.of({NEW: 10, OLD: 90})
    player = play(split=canary).run(600.0)
    player.traffic({NEW: 100})
    assert view(player.watch)["coverage"] == {}
    player.run(600.0 + 1000.0)
    assert player.told("window_ended") == [600.0 + 900.0 + 15.0]
    assert player.watch.proven_at == T0 + 600.0 + 900.0 + 15.0


def test_a_file_without_announced_lags_is_judged_by_the_width_of_its_samples() -> None:
    player = Player(World(requests=None, public=blind), opening(lags=(), armed=None, ends_at=T0 + 1200.0))
    samples = [
        sampled(check, 60.0 * k, Counts(0, 60.0), width=60.0, source="file").samples[0]
        for k in range(1, 21)
        for check in ("error_rate", "health", "ready")
    ]
    for sample in samples:
        player.fold(Sampled(at=sample.seen, samples=(sample,)))
    player.run()
    assert player.watch.rules.lag_of("file", "error_rate", 60.0) == Lag(
        source="file", check="error_rate", period_s=60.0, lag_s=180.0
    )
    assert ended(player)[0] is Outcome.PASSED
    assert POLICY.watch_s == 86_400.0
