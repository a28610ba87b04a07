"""The trial rollback: what both arms show decides, and nobody who acts in between is fought."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.core.player import Player, Traffic, World, play, steady, well, written
from tests.core.watches import FAST, NEW, OLD, SLOW, T0, fails, opening, policy
from watchdog.core import explain_text
from watchdog.core import watch as folding
from watchdog.core.commands import Announce, Restore
from watchdog.core.events import Event, Resumed, Ticked, Written
from watchdog.core.explain import explain
from watchdog.core.journal import decode, encode
from watchdog.core.model import Outcome, Split, State, TrialMark
from watchdog.core.report import view
from watchdog.core.report_text import markdown
from watchdog.core.state import Watch
from watchdog.web import show

POLICY = policy(rollback={"trial": "20%"})
FAULT_S = 100.0


def erring(share: float, total: float = 100.0) -> Traffic:
    """Counts of 5 s that are clean up to the fault."""
    return lambda at: (total * share if at > T0 + FAULT_S else 0.0, total)


def tried(new: float, old: float, **more: object) -> Player:
    """The new revision's bad share from 100 s on, and what the old one shows beside it."""
    world = World(requests=erring(new), control_requests=erring(old, 20.0))
    for name, value in more.items():
        setattr(world, name, value)
    return play(world, POLICY, ends_at=T0 + 900.0)


def until(player: Player, done: Callable[[Watch], bool], within_s: float = 600.0) -> Player:
    """Let it go on until something holds, a fifth of a second at a time."""
    for k in range(int(within_s * 5)):
        player.run(k / 5)
        if done(player.watch):
            return player
    raise AssertionError(f"not within {within_s:g} s: {player.watch.timeline}")


def on_trial(player: Player) -> Player:
    return until(player, lambda w: w.on_trial is not None and w.on_trial.routed_at is not None)


def steps(player: Player) -> list[object]:
    told = [c for c in player.commands if isinstance(c, Announce) and c.event.startswith("trial")]
    return [(a.event, a.fields.get("verdict")) for a in told]


def test_a_target_that_is_well_gets_the_rest_within_seconds() -> None:
    player = tried(0.3, 0.0).run()
    watch = player.watch
    assert (watch.outcome, player.restores) == (Outcome.ROLLED_BACK, 2)
    assert steps(player) == [("trial_begun", None), ("trial_decided", "helps")]
    (begun,), (decided,) = player.told("trial_begun"), player.told("trial_decided")
    assert decided - begun <= 30.0
    assert watch.rollback is not None
    assert watch.rollback.before == Split.of({NEW: 100})
    assert watch.rollback.after == Split.of({OLD: 100})
    assert player.announced("trial_begun")[0].fields["split"] == {NEW: 80, OLD: 20}
    assert watch.trial is not None
    assert "going back helps" in watch.trial.reason
    assert f"{OLD} failed 0 of" in watch.trial.reason


def test_a_target_that_is_as_sick_gives_the_share_back_and_somebody_is_woken() -> None:
    player = tried(0.3, 0.3).run(500.0)
    watch = player.watch
    assert steps(player) == [("trial_begun", None), ("trial_decided", "as_sick"), ("trial_put_back", "as_sick")]
    assert (watch.state, watch.split, watch.rollback) == (State.HELD, Split.of({NEW: 100}), None)
    assert watch.hold is not None
    assert watch.hold.kind == "trial"
    page = player.messages("held")[-1]
    assert "Rollback would not help" in page["title"]
    assert page["incident"] == {
        "action": "trigger",
        "dedup_key": player.messages("decision")[0]["incident"]["dedup_key"],
    }
    assert not player.announced("promoted")
    assert player.run().watch.outcome is Outcome.FAILED


def test_a_target_that_fails_twice_as_often_cannot_serve() -> None:
    player = tried(0.3, 1.0).run(500.0)
    watch = player.watch
    assert steps(player)[-1] == ("trial_put_back", "sick_otherwise")
    assert watch.hold is not None
    assert watch.hold.kind == "migration"
    assert "Old code cannot serve: migration?" in player.messages("held")[-1]["title"]


def test_what_proves_nothing_in_a_minute_is_completed() -> None:
    player = tried(0.3, 0.0, control_requests=steady(0.0)).run()
    assert steps(player)[-1] == ("trial_decided", "undecided")
    (begun,), (decided,) = player.told("trial_begun"), player.told("trial_decided")
    assert 60.0 <= decided - begun <= 62.0
    assert player.watch.outcome is Outcome.ROLLED_BACK


def test_a_feed_that_fell_silent_completes_too() -> None:
    player = tried(0.3, 0.3, control_requests=None).run()
    assert steps(player)[-1] == ("trial_decided", "undecided")
    assert player.watch.outcome is Outcome.ROLLED_BACK


def test_a_target_that_was_not_asked_may_be_cold_and_its_first_failures_do_not_count() -> None:
    def cold(at: float) -> tuple[float, float]:
        return (20.0 if at < warm_at else 0.0, 20.0)

    player = on_trial(tried(0.3, 0.0, control=lambda name, at: fails(at, "timeout")))
    warm_at = player.now + 15.0
    player.world.control_requests = cold
    player.run()
    assert player.watch.outcome is Outcome.ROLLED_BACK, player.watch.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"lags": SLOW, "of": POLICY},
        {"of": policy(rollback={"trial": "off"})},
        {"of": policy(rollback={"trial": "100%"})},
        {"split": Split.of({NEW: 1, OLD: 99})},
        {"split": Split.of({NEW: 50, OLD: 50})},
    ],
    ids=["slow feed", "off", "all at once", "nothing to divide", "both serve already"],
)
def test_where_a_trial_could_show_nothing_the_whole_goes_at_once(changes: dict[str, object]) -> None:
    of = changes.pop("of", POLICY)
    world = World(requests=erring(0.3), control_requests=steady(20.0))
    if changes.get("lags") is SLOW:
        world.source, world.period_s, world.seen_after_s = "cloud_run", 60.0, 180.0
    player = play(world, of, **changes).run(1200.0)  # type: ignore[arg-type]
    assert player.watch.rollback is not None
    assert player.watch.rollback.written_at is not None
    assert not player.announced("trial_begun")


def test_observe_mode_tries_nothing() -> None:
    player = play(World(requests=erring(0.3)), policy(rollback={"trial": "20%", "mode": "observe"})).run(300.0)
    assert not player.announced("trial_begun")


# --- what waits for no trial --------------------------------------------------------------------------------------


def test_a_signal_ends_the_trial_at_once() -> None:
    player = on_trial(tried(0.3, 0.3))
    at = player.now - T0
    player.signal("database_corruption")
    player.run(at + 5.0)
    assert steps(player)[-1] == ("trial_decided", "cut_short")
    assert player.watch.rollback is not None
    assert player.watch.rollback.written_at is not None


def test_a_health_check_that_fails_while_the_target_is_well_ends_it() -> None:
    player = on_trial(tried(0.05, 0.05, own=well))
    since = player.now
    player.world.own = lambda name, at: fails(at) if at > since else well(name, at)
    player.run(since - T0 + 30.0)
    assert steps(player)[-1] == ("trial_decided", "cut_short")


def test_a_person_may_finish_it_or_stop_it() -> None:
    finished, stopped = on_trial(tried(0.3, 0.3)), on_trial(tried(0.3, 0.0))
    finished.operate("rollback")
    stopped.operate("hold", reason="known cause")
    assert finished.run(finished.now - T0 + 3.0).watch.rollback is not None
    assert steps(finished)[-1] == ("trial_decided", "cut_short")
    stopped.run(stopped.now - T0 + 3.0)
    assert stopped.watch.hold is not None
    assert (stopped.watch.hold.kind, stopped.watch.split) == ("person", Split.of({NEW: 100}))


def test_a_signal_while_the_first_write_is_on_its_way_hurries_the_second() -> None:
    player = until(tried(0.3, 0.3), lambda w: w.rollback is not None and w.rollback.stage == "writing")
    assert player.watch.on_trial is None
    player.signal("database_corruption")
    player.run(player.now - T0 + 2.0)
    assert player.restores == 2
    assert player.watch.rollback is not None
    assert player.watch.rollback.written_at is not None


# --- somebody acts in between -------------------------------------------------------------------------------------


def test_a_newer_revision_supersedes() -> None:
    player = on_trial(tried(0.3, 0.0))
    player.traffic({"api-00003": 100}, newer=True)
    assert player.watch.outcome is Outcome.SUPERSEDED


def test_somebody_who_takes_it_to_zero_overrides() -> None:
    player = on_trial(tried(0.3, 0.0))
    player.traffic({OLD: 100})
    assert player.watch.outcome is Outcome.OVERRIDDEN


def test_another_watchdog_that_finished_it_is_believed() -> None:
    player = on_trial(tried(0.3, 0.0))
    player.traffic({OLD: 100}, rolled_back=NEW)
    assert player.watch.outcome is Outcome.ROLLED_BACK


def test_somebody_who_undoes_the_trial_is_not_fought() -> None:
    player = on_trial(tried(0.3, 0.0))
    player.traffic({NEW: 100})
    player.run(player.now - T0 + 200.0)
    assert player.restores == 1
    assert player.watch.hold is not None
    assert player.watch.hold.kind == "person"
    assert steps(player)[-1] == ("trial_decided", "undone")


def test_somebody_who_changes_the_shares_leaves_two_arms_to_compare() -> None:
    player = on_trial(tried(0.3, 0.0))
    player.traffic({NEW: 50, OLD: 50})
    player.run()
    assert steps(player)[-1] == ("trial_decided", "helps")
    assert player.watch.outcome is Outcome.ROLLED_BACK


def test_a_share_that_cannot_be_put_back_is_paged_with_the_way_back() -> None:
    def write(watch: Watch, at: float) -> Written:
        if watch.rollback is not None and watch.rollback.step == "back":
            return Written(at=at, result="failed", reason="Cloud Run answered 503", before=watch.split)
        return written(watch, at)

    player = tried(0.3, 0.3, write=write).run(300.0)
    page = player.messages("rollback_failed")[-1]
    assert page["title"].startswith("Trial not put back")
    assert f"--to-revisions {NEW}=100" in page["todo"]
    assert f"{OLD} 20 %" in page["did"]


def test_a_target_that_dropped_out_gives_the_share_back() -> None:
    def write(watch: Watch, at: float) -> Written:
        if watch.trial is not None and watch.rollback is not None and watch.rollback.step == "whole":
            return Written(at=at, result="refused", reason=f"the target cannot serve: {OLD} is not ready")
        return written(watch, at)

    player = tried(0.3, 0.0, write=write).run(300.0)
    assert player.watch.hold is not None
    assert (player.watch.hold.kind, player.watch.split) == ("refused", Split.of({NEW: 100}))
    assert f"{OLD} is not ready" in player.messages("held")[-1]["happened"]
    assert player.run().watch.outcome is Outcome.FAILED


@pytest.mark.parametrize("old, verdict", [(0.0, "going back helps"), (0.3, "a rollback would not help")])
def test_report_page_and_explanation_tell_its_story(old: float, verdict: str) -> None:
    player = tried(0.3, old).run(500.0)
    shown = view(player.watch)
    told = markdown(shown, ())
    assert "## The trial" in told
    assert verdict in told
    assert f"`{OLD}`" in told
    answer = " ".join(explain_text.answer(explain(player.journal)))
    assert verdict in answer
    assert f"{OLD} failed" in answer
    page = show.watch_page(shown, player.now)["rollback"]
    assert any(verdict in said for said in page["said"])
    assert [line.text for line in page["lines"] if line.text.startswith("Trial")]


# --- later --------------------------------------------------------------------------------------------------------


def test_a_hold_ends_when_the_fault_has_cleared_and_the_watch_may_pass() -> None:
    world = World(
        requests=lambda at: (30.0 if T0 + FAULT_S < at < T0 + 250.0 else 0.0, 100.0),
        control_requests=erring(0.3, 20.0),
    )
    player = play(world, POLICY, ends_at=T0 + 9000.0).run(9000.0)
    assert steps(player)[-1] == ("trial_put_back", "as_sick")
    assert player.announced("released")
    assert player.watch.hold is None


def test_a_person_may_still_roll_back_and_it_goes_at_once() -> None:
    player = tried(0.3, 0.3).run(500.0)
    player.operate("rollback", reason="I know better")
    player.run(505.0)
    assert player.watch.rollback is not None
    assert player.watch.rollback.written_at is not None
    assert player.restores == 3


def test_a_crash_between_the_writes_resumes_from_the_journal() -> None:
    player = on_trial(tried(0.3, 0.0))
    watch, _ = folding.replay(_through_the_journal(player.journal))
    assert watch is not None
    assert watch.on_trial == player.watch.on_trial
    resumed, _ = folding.advance(watch, Resumed(at=player.now + 5.0, down_since=player.now))
    assert resumed.on_trial is not None
    late, commands = folding.advance(resumed, Ticked(at=player.now + 100.0))
    assert [type(c) for c in commands].count(Restore) == 1
    assert late.rollback is not None
    assert (late.rollback.stage, late.rollback.step) == ("writing", "whole")


def test_with_the_store_lost_the_mark_on_the_service_is_enough() -> None:
    both = Split.of({NEW: 80, OLD: 20})
    mark = TrialMark(revision=NEW, at=T0 - 10.0, before=Split.of({NEW: 100}), after=both)
    first = replace(opening(POLICY, split=both, lags=FAST), trial=mark)
    world = World(requests=steady(100.0, 30.0), control_requests=steady(20.0))
    player = Player(world, first).run(300.0)
    assert steps(player) == [("trial_begun", None), ("trial_decided", "helps")]
    assert player.watch.outcome is Outcome.ROLLED_BACK
    assert player.watch.rollback is not None
    assert player.watch.rollback.before == Split.of({NEW: 100})


@pytest.mark.parametrize("old", [0.0, 0.3, 1.0])
def test_every_journal_replays_to_the_same_end(old: float) -> None:
    player = tried(0.3, old).run(600.0)
    watch, _ = folding.replay(_through_the_journal(player.journal))
    assert watch is not None
    watch, _ = folding.advance(watch, Ticked(at=player.watch.at))  # time that nothing came of is not journaled
    assert view(watch) == view(player.watch)


def _through_the_journal(events: list[Event]) -> list[Event]:
    rows = [(*encode(e), e.at) for e in events]
    return [decode(kind, schema, at, body) for kind, schema, body, at in rows]
