"""Whole watches in virtual time: from the first traffic to the end, whoever moves the traffic meanwhile."""

import pytest

from tests.core.player import Player, World, down_from, play, steady
from tests.core.watches import KEY, NEW, OLD, SLOW, T0, opening, policy
from watchdog.core import watch as folding
from watchdog.core.commands import Announce
from watchdog.core.events import Resumed, Ticked
from watchdog.core.model import Action, Deploy, Outcome, Split, State, Verdict, Window
from watchdog.core.schedule import plan

NEWER = "api-00003"


def monitored(share: float = 0.0, *, begins: float = 0.0, total: float = 600.0) -> World:
    """Cloud Monitoring: a minute wide, three minutes late, asked once a minute."""
    world = World(period_s=60.0, seen_after_s=181.0, asked_every_s=60.0, source="cloud_run")
    world.requests = lambda at: (total * share, total) if at - 60.0 >= T0 + begins else (0.0, total)
    world.restored_requests = steady(total)
    return world


# --- incidents, end to end ---------------------------------------------------------------------------------------


def test_hard_down_is_restored_and_proven_within_the_bounds() -> None:
    down = down_from(300.0)
    player = play(World(public=down, own=down)).run()
    assert player.watch.outcome is Outcome.ROLLED_BACK
    first_failure = player.announced("probe_failed")[0].at
    assert player.announced("traffic_written")[0].at - first_failure <= 4.0 + 0.05 + 2.0
    assert _story(player) == list(STORY)


STORY = (
    "probe_failed",
    "confirming",
    "decision",
    "traffic_written",
    "restored",
    "verifying",
    "recovered",
    "watch_ended",
)


def _story(player: Player) -> list[str]:
    """What happened, each kind once, in order."""
    kinds = [c.event for c in player.commands if isinstance(c, Announce) and c.event in STORY]
    return list(dict.fromkeys(kinds))


@pytest.mark.parametrize("feed, within", [("direct", 75.0), ("monitoring", 460.0)])
def test_eight_percent_of_errors_behind_green_probes_are_found_and_rolled_back(feed: str, within: float) -> None:
    if feed == "direct":
        world = World(requests=lambda at: (8.0, 100.0) if at > T0 + 300.0 else (0.0, 100.0))
        player = play(world).run(2000.0)
    else:
        player = play(monitored(0.08, begins=300.0), lags=SLOW).run(2000.0)
    assert player.watch.outcome is Outcome.ROLLED_BACK
    assert player.told("decision")[-1] - 300.0 <= within
    assert "error_rate: 8" in player.watch.reason


def test_a_late_fault_is_found_as_fast_as_an_early_one() -> None:
    player = play(monitored(0.08, begins=12 * 3600.0), lags=SLOW).run()
    assert player.watch.outcome is Outcome.ROLLED_BACK
    assert player.told("decision")[-1] - 12 * 3600.0 <= 520.0


def test_a_slow_day_of_half_a_percent_warns_and_passes() -> None:
    player = play(monitored(0.007, total=3000.0), lags=SLOW).run()
    assert player.watch.outcome is Outcome.PASSED
    assert player.restores == 0
    assert player.row("alert.error_rate.warning").verdict is Verdict.WARN
    assert [d.criterion for d in player.watch.decisions] == ["error_rate > 0.5%"]


# --- the beginning -----------------------------------------------------------------------------------------------


def pending() -> Player:
    return Player(World(), opening(cutover_at=None, split=Split.of({OLD: 100})))


def test_a_pending_watch_reads_traffic_and_asks_no_probe() -> None:
    player = pending()
    assert player.watch.state is State.PENDING
    assert plan(player.watch).asks == frozenset()
    assert plan(player.watch).traffic_every_s == 2.0


def test_it_begins_with_the_first_traffic() -> None:
    player = pending().run(100.0)
    player.traffic({NEW: 10, OLD: 90})
    assert player.watch.state is State.WATCHING
    assert player.watch.cutover_at == T0 + 100.0
    assert player.watch.ends_at == T0 + 100.0 + 86_400.0


def test_half_an_hour_without_traffic_is_unverified() -> None:
    player = pending().run()
    assert player.watch.outcome is Outcome.UNVERIFIED
    assert player.watch.reason == "api-00002 got no traffic within 30 min."
    assert player.watch.ended_at == T0 + 1800.0


def test_the_opening_message_says_what_will_happen() -> None:
    player = play(deploy=Deploy(service=KEY, revision=NEW, version="1.4.0", deployer="carol"), notes=("be careful",))
    message = player.messages("opened")[0]
    assert message["happened"] == "api-00002 (version 1.4.0) was deployed by carol; before it served api-00001 100 %."
    assert message["did"] == "A proven rollback criterion moves traffic back to api-00001 100 %."
    assert message["evidence"] == [["note", "be careful"]]
    assert message["change"] is True
    observing = play(of=policy(rollback={"mode": "observe"}))
    assert "writes nothing" in observing.messages("opened")[0]["did"]


# --- traffic that others move ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "split, more, outcome",
    [
        ({NEWER: 100}, {"newer": True}, Outcome.SUPERSEDED),
        ({OLD: 100}, {}, Outcome.OVERRIDDEN),
        ({OLD: 100}, {"rolled_back": NEW}, Outcome.ROLLED_BACK),
    ],
)
def test_who_took_its_traffic_decides_how_it_ends(
    split: dict[str, int], more: dict[str, object], outcome: Outcome
) -> None:
    player = play().run(100.0)
    player.traffic(split, **more)
    assert player.watch.outcome is outcome
    assert player.restores == 0
    assert plan(player.watch).asks == frozenset()


def test_a_promotion_starts_the_immediate_window_again_and_keeps_the_target() -> None:
    player = play(split=Split.of({NEW: 10, OLD: 90})).run(2000.0)
    assert player.watch.window == "short_term"
    assert player.watch.proven_at is not None
    player.traffic({NEW: 50, OLD: 50})
    assert player.watch.window == "immediate"
    assert player.watch.proven_at is None, "what 10 % have proven is not what serves now"
    assert player.watch.target.split == Split.of({OLD: 100})
    assert player.watch.ends_at == T0 + 2000.0 + 86_400.0
    player.run(3200.0)
    assert player.watch.proven_at is not None


def test_a_step_back_goes_on() -> None:
    player = play().run(1000.0)
    player.traffic({NEW: 20, OLD: 80})
    assert player.watch.open
    assert player.watch.window is Window.SHORT_TERM
    assert player.told("stepped_back") == [1000.0]


def test_the_same_traffic_again_is_no_news() -> None:
    player = play().run(100.0)
    before = len(player.watch.timeline)
    player.traffic({NEW: 100})
    assert len(player.watch.timeline) == before


# --- windows and the end -----------------------------------------------------------------------------------------


def test_the_windows_settle_when_their_slowest_source_has_passed_their_end() -> None:
    player = play(monitored(), lags=SLOW).run(5000.0)
    assert player.told("window_ended") == [900.0 + 240.0, 3600.0 + 240.0]
    assert player.told("proven") == [900.0 + 240.0]
    assert [m["severity"] for m in player.messages("window")] == ["info", "info"]


def test_a_window_with_an_open_alarm_proves_nothing() -> None:
    down = down_from(890.0)
    player = play(World(public=down, own=down, control=down)).run(1000.0)
    assert player.watch.hold is not None
    assert player.watch.proven_at is None
    assert player.announced("window_ended")[0].fields["verified"] is False


def test_finish_judges_what_was_seen() -> None:
    player = play().run(400.0)
    player.operate("finish", reason="enough")
    player.run(401.0)
    assert player.watch.outcome is Outcome.PASSED
    assert player.watch.ended_at == T0 + 400.0


def test_extend_moves_the_end() -> None:
    player = play(ends_at=T0 + 300.0).run(100.0)
    player.operate("extend", for_s=120.0)
    player.run()
    assert player.watch.ended_at == T0 + 420.0


def test_after_the_end_nothing_changes() -> None:
    player = play(ends_at=T0 + 60.0).run()
    again, commands = folding.advance(player.watch, Ticked(at=T0 + 9000.0))
    assert again is player.watch
    assert commands == ()


def test_an_unknown_verb_of_a_later_version_is_noted_and_ignored() -> None:
    player = play().run(50.0)
    player.operate("dance")
    assert player.watch.timeline[-1].text == "alice asked for dance, which this version does not know."


def test_an_absence_is_said_and_not_covered() -> None:
    player = play().run(100.0)
    player.fold(Resumed(at=T0 + 400.0, down_since=T0 + 100.0))
    assert player.announced("watch_resumed")[0].fields["away_s"] == 300.0
    assert "5 min" in player.watch.timeline[-1].text


# --- the plan ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at, every", [(10.0, 5.0), (1000.0, 15.0), (7200.0, 60.0)])
def test_each_window_has_its_own_probing_interval(at: float, every: float) -> None:
    player = play(monitored(), lags=SLOW).run(at)
    assert {a.every_s for a in plan(player.watch).asks} == {every}
    assert plan(player.watch).metrics == NEW


def test_the_plan_follows_from_the_watch_alone() -> None:
    down = down_from(100.0)
    player = play(World(public=down, own=down, control=down)).run(110.0)
    asks = {(a.probe, a.role.value, a.purpose.value) for a in plan(player.watch).asks}
    assert ("health", "control", "confirm") in asks
    assert ("health", "own", "confirm") in asks
    assert ("health", "public", "regular") in asks


# --- messages ----------------------------------------------------------------------------------------------------


def test_one_incident_a_watch_however_much_happens() -> None:
    down = down_from(100.0)
    player = play(World(public=down, own=down, control=down, restored=down), ends_at=T0 + 900.0).run()
    bodies = [c.body for c in player.commands if hasattr(c, "body")]
    keys = {b["incident"]["dedup_key"] for b in bodies if b["incident"]}
    assert keys == {"watchdog/us-central1/barq-fleet-api/w1/1"}
    assert [d.action for d in player.watch.decisions] == [Action.ROLLBACK]


def test_a_quiet_day_wakes_nobody() -> None:
    player = play(monitored(), lags=SLOW).run()
    bodies = [c.body for c in player.commands if hasattr(c, "body")]
    assert [b["kind"] for b in bodies] == ["opened", "window", "window", "passed"]
    assert all(b["incident"] is None for b in bodies)
