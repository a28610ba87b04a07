"""Samples into verdicts: which rows a sample concerns, what it proves, when an alarm clears, what the sentence says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.player import Player, World, play, steady
from tests.core.watches import FAST, NEW, OLD, SLOW, T0, ok, opening, policy, regular, sampled, state_of, verdicts
from watchdog.core import evaluate
from watchdog.core.events import Lag, Sampled
from watchdog.core.model import Action, Counts, Evidence, Missing, Sample, Split, Value, Verdict
from watchdog.core.probing import OwnRequest

QUIET = World(requests=None)


def fed(player: Player, check: str, *found: Evidence, width: float = 60.0, **more: object) -> Player:
    """The samples of a check, one after the other from where the player is."""
    start = player.now - T0
    for k, evidence in enumerate(found, 1):
        end = start + k * width
        player.run(end)
        player.fold(sampled(check, end, evidence, width=width, **more))
    return player


# --- errors ------------------------------------------------------------------------------------------------------


def test_the_sentence_has_value_sample_size_span_limit_and_source() -> None:
    player = play(World(requests=lambda at: (4.0, 50.0) if at > T0 + 300.0 else (0.0, 50.0))).run(600.0)
    reason = player.announced("decision")[-1].fields["reason"]
    assert "error_rate: 8 % (" in reason
    counted = reason.split("error_rate: 8 % (")[1]
    assert counted.startswith("32 of 400 requests in 40 s; limit < 1%; requests)")
    assert reason.endswith("in the immediate window.")


def test_a_row_that_can_roll_back_and_a_warning_read_the_same_samples_each_by_its_own_limit() -> None:
    player = play(World(requests=steady(100.0, 1.0))).run(4000.0)
    found = verdicts(player.watch)
    assert found["alert.error_rate.warning"] is Verdict.WARN
    assert found["alert.error_rate.critical"] is Verdict.PASS
    assert found["immediate.error_rate"] is Verdict.PASS
    assert player.restores == 0


def test_a_row_of_one_window_sees_the_samples_of_that_window_only() -> None:
    rows = {"short_term": [{"metric": "error_rate", "target": "< 0.1%", "action": "investigate"}]}
    made = policy(window_criteria=rows)
    player = play(World(requests=steady(200.0, 0.8)), made).run(890.0)
    assert player.row("window.short_term.error_rate").verdict is Verdict.INCONCLUSIVE
    player.run(1500.0)
    assert player.row("window.short_term.error_rate").verdict is Verdict.WARN
    decision = next(d for d in player.watch.decisions if d.criterion == "error_rate < 0.1%")
    assert decision.action is Action.INVESTIGATE
    assert player.restores == 0


def test_samples_of_another_revision_do_not_count() -> None:
    player = fed(play(QUIET), "error_rate", *[Counts(5, 5)] * 30, width=5.0, revision=OLD)
    assert verdicts(player.watch)["success.error_rate"] is Verdict.INCONCLUSIVE
    assert player.restores == 0


def test_what_began_before_the_cutover_or_in_the_cold_start_does_not_count() -> None:
    player = play(QUIET)
    for end in (-60.0, 2.0, 30.0, 34.0):
        player.fold(sampled("error_rate", end, Counts(500, 500), seen_s=40.0))
    assert not player.watch.streams
    player.fold(sampled("error_rate", 36.0, Counts(1, 500), seen_s=40.0))
    assert player.watch.streams


@pytest.mark.parametrize("evidence", [Counts(float("nan"), 5.0), Counts(1.0, float("inf")), Counts(-1.0, 5.0)])
def test_counts_that_are_no_counts_are_missing(evidence: Counts) -> None:
    player = fed(play(QUIET), "error_rate", *[evidence] * 20, width=5.0)
    assert player.watch.missing["error_rate"] == "nan"
    assert ("requests", "error_rate", "") not in player.watch.streams


def test_a_bad_feed_does_not_blind_a_good_one() -> None:
    """Feeds are never merged: 10 % errors in one are not diluted by another's."""
    both = (*FAST, *SLOW)
    player = play(World(requests=lambda at: (5.0, 50.0) if at > T0 + 600.0 else (0.0, 50.0)), lags=both)
    for k in range(1, 12):
        player.run(60.0 * k)
        player.fold(sampled("error_rate", 60.0 * k, Counts(0, 6000), width=60.0, source="cloud_run"))
    player.run(800.0)
    assert player.restores == 1


def test_our_own_probes_are_taken_out_of_cloud_runs_counts_while_the_revision_has_all_traffic() -> None:
    def probed(split: Split) -> float:
        player = Player(World(requests=None), opening(lags=SLOW, split=split))
        player.run(400.0)
        player.fold(sampled("error_rate", 180.0, Counts(0, 40), width=60.0, seen_s=400.0, source="cloud_run"))
        stream = next(s for (source, _, _), s in player.watch.streams.items() if source == "cloud_run")
        return stream.series.total

    assert probed(Split.of({NEW: 100})) == 40 - 24
    assert probed(Split.of({NEW: 50, OLD: 50})) == 40


def test_our_own_refused_probes_are_no_client_errors() -> None:
    """A probe with a wrong token is 401, and Cloud Monitoring counts it like anybody's."""
    of = policy(alert_thresholds=[{"metric": "client_error_rate", "warning": "> 5%"}])
    lags = (Lag(source="cloud_run", check="client_error_rate", period_s=60.0, lag_s=180.0),)
    player = Player(World(requests=None), opening(of, lags=lags))
    player.watch.own_requests = tuple(
        OwnRequest(T0 + 125.0 + n, bad=False, took_s=0.1, client_error=True) for n in range(24)
    )
    player.fold(sampled("client_error_rate", 180.0, Counts(26, 64), width=60.0, seen_s=400.0, source="cloud_run"))

    (stream,) = [s for (_, check, _), s in player.watch.streams.items() if check == "client_error_rate"]
    assert (stream.series.bad, stream.series.total) == (2.0, 40.0)


def test_own_requests_are_forgotten_after_their_samples_can_no_longer_come() -> None:
    player = play().run(3 * 3600.0)
    oldest = player.watch.own_requests[0][0]
    assert oldest >= player.now - 2 * evaluate.KEEP_OWN_S - 60.0


# --- latency -----------------------------------------------------------------------------------------------------


def test_p95_is_at_most_five_percent_slower_than_the_limit() -> None:
    made = opening(lags=FAST)
    check = "slower_than_500ms_upper"  # a warning also counts what may have been slower
    fine = fed(Player(QUIET, made), check, *[Counts(2, 50)] * 200, width=5.0)
    slow = fed(Player(QUIET, made), check, *[Counts(10, 50)] * 200, width=5.0)
    assert verdicts(fine.watch)["success.p95_latency"] is Verdict.PASS
    state = state_of(slow.watch, "success.p95_latency")
    assert state.verdict is Verdict.WARN
    assert "slower than 500 ms" in state.reason
    assert "limit < 500ms, which allows 5 %" in state.reason


def test_percentiles_alone_are_judged_as_readings() -> None:
    player = fed(play(QUIET), "p95_latency", *[Value(0.2)] * 3, *[Value(0.7)] * 4)
    state = player.row("success.p95_latency")
    assert state.verdict is Verdict.WARN
    assert state.reason == "p95_latency: 700 ms (4 of the last 5 points; limit < 500ms; requests)"


# --- gauges ------------------------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_a_gauge_breaches_and_clears_by_four_of_five(points: list[bool]) -> None:
    player = play(QUIET)
    alarmed = False
    for k, broken in enumerate(points):
        end = 120.0 + 60.0 * k
        player.fold(sampled("cpu_usage", end, Value(0.95 if broken else 0.2), width=60.0))
        last = points[max(0, k - 4) : k + 1]
        if not alarmed and sum(last) >= 4:
            alarmed = True
        elif alarmed and len(last) - sum(last) >= 4:
            alarmed = False
        state = state_of(player.watch, "alert.cpu_usage.critical")
        assert (state.verdict is Verdict.FAIL) is alarmed
    assert player.restores == 0


def test_a_gauge_row_says_so_once_an_alarm() -> None:
    player = fed(play(QUIET), "cpu_usage", *[Value(0.8)] * 9)
    assert [d.criterion for d in player.watch.decisions] == ["cpu_usage > 70%"]
    assert player.watch.decisions[0].action is Action.SCALE_UP
    fed(player, "cpu_usage", *[Value(0.1)] * 5, *[Value(0.8)] * 5)
    assert [d.criterion for d in player.watch.decisions] == ["cpu_usage > 70%"] * 2


def test_a_gauge_may_roll_back_where_the_policy_says_so() -> None:
    rows = [{"metric": "memory_usage", "target": "< 80%", "action": "rollback"}]
    player = fed(play(QUIET, policy(success_criteria=rows)), "memory_usage", *[Value(0.9)] * 5).run(400.0)
    assert player.restores == 1
    assert "memory_usage: 90 % (4 of the last 4 points; limit < 80%; requests)" in player.watch.reason


def test_points_out_of_order_and_doubled_are_one_series() -> None:
    player = play(QUIET)
    for end in (300.0, 120.0, 240.0, 180.0, 300.0):
        player.fold(sampled("cpu_usage", end, Value(0.95), width=60.0, seen_s=310.0))
    state = player.row("alert.cpu_usage.critical")
    assert [at - T0 for at, _ in state.last] == [120.0, 180.0, 240.0, 300.0]
    assert state.alarmed_at == T0 + 310.0


def test_a_gauge_whose_source_is_gone_no_longer_passes() -> None:
    player = fed(play(QUIET), "cpu_usage", Value(0.2), Value(0.2))
    assert player.row("alert.cpu_usage.critical").verdict is Verdict.PASS
    fed(player, "cpu_usage", Missing("source_error"))
    assert player.row("alert.cpu_usage.critical").verdict is Verdict.ERROR
    fed(player, "cpu_usage", Value(0.2))
    assert player.row("alert.cpu_usage.critical").verdict is Verdict.PASS


def test_an_extended_watch_is_judged_by_its_last_window_to_the_end() -> None:
    short = policy(windows={"immediate": {"until": "10m", "probe_every": "5s"}})
    player = play(QUIET, short).run(300.0)
    player.operate("extend", for_s=3600.0)
    player.run(1000.0)
    fed(player, "cpu_usage", *[Value(0.95)] * 5)
    assert player.row("alert.cpu_usage.critical").verdict is Verdict.FAIL


# --- clearing ----------------------------------------------------------------------------------------------------


INVESTIGATED = policy(
    success_criteria=[{"metric": "error_rate", "target": "< 1%", "action": "investigate"}],
    alert_thresholds=None,
    rollback=None,
)


def test_an_alarm_clears_after_enough_requests_without_another() -> None:
    bad = World(requests=lambda at: (20.0, 100.0) if T0 + 300.0 < at <= T0 + 400.0 else (0.0, 100.0))
    player = play(bad, INVESTIGATED).run(420.0)
    assert player.row("success.error_rate").verdict is Verdict.WARN
    player.run(700.0)
    state = player.row("success.error_rate")
    assert (state.verdict, state.alarmed_at) == (Verdict.INCONCLUSIVE, None)
    assert state.reason.endswith("is over what the limit allows (1 %), but not proven yet")
    assert player.run(4000.0).row("success.error_rate").verdict is Verdict.PASS


def test_only_the_feed_that_raised_an_alarm_can_clear_it() -> None:
    """A second, healthy feed with more requests says nothing about what the first one saw."""
    player = play(World(requests=lambda at: (2.0, 4.0)), INVESTIGATED, lags=(*FAST, *SLOW))
    for k in range(1, 20):
        player.run(60.0 * k)
        player.fold(sampled("error_rate", 60.0 * k, Counts(0, 60_000), width=60.0, source="cloud_run"))
    assert player.row("success.error_rate").verdict is Verdict.WARN


@pytest.mark.parametrize("share", [0.015, 0.02, 0.03, 0.05, 0.3, 1.0])
def test_a_fault_that_goes_on_does_not_clear(share: float) -> None:
    """… and so is said once."""
    player = play(World(requests=steady(200.0, 200.0 * share)), INVESTIGATED, ends_at=T0 + 7200.0).run(7000.0)
    assert player.row("success.error_rate").verdict is Verdict.WARN
    assert len(player.watch.decisions) == 1


def test_a_healthy_probe_does_not_clear_another_ones_alarm() -> None:
    player = play(QUIET)
    for k in range(700):
        at = T0 + 5.0 * k
        for name in ("health", "ready"):
            bad = name == "ready" and k % 3 == 0
            sample = Sample(
                source="file",
                check=name,
                revision=NEW,
                start=at,
                end=at + 5.0,
                seen=at + 5.0,
                evidence=Counts(float(bad), 1.0),
            )
            player.fold(Sampled(at=at + 5.0, samples=(sample,)))
    state = player.row("success.health_check")
    assert state.verdict is Verdict.FAIL
    assert state.check == "ready"
    assert "probes failed" in state.reason
    assert "file ready" in state.reason


# --- probes ------------------------------------------------------------------------------------------------------


def test_a_probe_row_passes_only_when_every_probe_has_answered() -> None:
    player = Player(World(requests=None), opening())
    player._asks.clear()
    player._queue.clear()
    player.fold(regular("health", ok(T0 + 1.0)))
    assert player.row("success.health_check").verdict is Verdict.INCONCLUSIVE
    assert player.row("success.health_check").reason == "no evidence yet: ready"
    player.fold(regular("ready", ok(T0 + 1.2)))
    assert player.row("success.health_check").verdict is Verdict.PASS


def test_rows_without_a_source_say_why() -> None:
    made = policy(
        metrics={"database_cpu": {"source": "pending"}},
        success_criteria=[
            {"metric": "database_cpu", "target": "< 70%", "action": "rollback"},
            {"metric": "error_rate", "target": "< 1.5x before", "action": "rollback"},
            {"metric": "health_check", "target": "100%", "action": "rollback"},
        ],
    )
    player = play(QUIET, made).run(60.0)
    assert player.row("success.database_cpu").reason == "no source yet"
    assert player.row("success.error_rate").reason == "nothing measured before the deploy to compare with"


def test_a_relative_row_is_judged_against_what_was_before() -> None:
    made = policy(success_criteria=[{"metric": "error_rate", "target": "< 1.5x before", "action": "rollback"}])
    first = opening(made, baselines={"error_rate": 0.02})
    fine = Player(World(requests=steady(100.0, 2.0)), first).run(600.0)
    worse = Player(World(requests=steady(100.0, 4.0)), first).run(600.0)
    assert fine.watch.rules.rules[0].p0 == pytest.approx(0.03)
    criteria = {d.criterion for d in worse.watch.decisions if d.action is Action.ROLLBACK}
    assert "error_rate < 1.5x before" in criteria or worse.restores == 1
    assert state_of(fine.watch, "success.error_rate").alarmed_at is None


def test_a_row_does_not_pass_while_its_counts_lie_over_the_limit() -> None:
    """A pass that was said before is taken back, and said again when there is reason to."""
    spike = World(requests=lambda at: (12.0, 40.0) if at == T0 + 100.0 else (0.0, 40.0))
    player = play(spike, INVESTIGATED).run(99.0)
    assert player.row("success.error_rate").verdict is Verdict.PASS
    player.run(110.0)
    assert player.row("success.error_rate").verdict is Verdict.INCONCLUSIVE
    assert player.row("success.error_rate").alarmed_at is None
    player.run(400.0)
    assert player.row("success.error_rate").verdict is Verdict.PASS
