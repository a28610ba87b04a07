"""After the write: restored is not recovered, and neither is said before it is proven."""

import pytest

from tests.core.player import Player, World, down_from, play, steady
from tests.core.watches import NEW, OLD, T0, fails, missing, ok, opening, policy
from watchdog.core.events import Target, Written
from watchdog.core.model import Outcome, Split, State
from watchdog.core.probing import Purpose, Role
from watchdog.core.schedule import plan
from watchdog.core.state import Watch

DOWN = down_from(100.0)


def down(**more: object) -> World:
    world = World(public=DOWN, own=DOWN)
    for key, value in more.items():
        setattr(world, key, value)
    return world


def erring(**more: object) -> World:
    world = World(requests=lambda at: (5.0, 50.0) if at > T0 + 100.0 else (0.0, 50.0))
    for key, value in more.items():
        setattr(world, key, value)
    return world


# --- proven ------------------------------------------------------------------------------------------------------


def test_recovered_after_settling_and_three_passes_of_every_probe() -> None:
    player = play(down()).run()
    assert player.watch.outcome is Outcome.ROLLED_BACK
    written_at, restored, verifying, recovered = (
        player.told(e)[0] for e in ("traffic_written", "restored", "verifying", "recovered")
    )
    assert restored == pytest.approx(written_at + 0.5)
    assert verifying == pytest.approx(restored + 5.0)
    assert recovered == pytest.approx(verifying + 2.0, abs=0.1)
    assert player.announced("recovered")[0].fields["proven"] is True
    message = player.messages("rolled_back")[0]
    assert message["incident"]["action"] == "resolve"
    assert "watchdog release barq-fleet-api --on-next" in message["todo"]


def test_only_the_asked_probes_that_can_pass_prove_recovery() -> None:
    """A wrong path fails on the old revision as it did on the new one."""
    made = policy(
        probes={"health": {"path": "/h"}, "wrong": {"path": "/w"}, "extra": {"path": "/x", "critical": False}}
    )
    broken = lambda n, at: fails(at) if n == "wrong" or at >= T0 + 100.0 else ok(at)  # noqa: E731
    restored = lambda n, at: fails(at) if n == "wrong" else ok(at)  # noqa: E731
    player = play(World(public=broken, own=broken, control=restored, restored=restored), made, armed=("health",)).run(
        110.0
    )
    assert {a.probe for a in plan(player.watch).asks if a.purpose is Purpose.VERIFY} == {"health"}
    player.run()
    assert player.watch.outcome is Outcome.ROLLED_BACK


def test_counts_that_raised_the_alarm_prove_its_end() -> None:
    player = play(erring()).run()
    assert player.watch.outcome is Outcome.ROLLED_BACK
    assert player.announced("recovered")[0].fields["proven"] is True
    assert player.told("recovered")[0] - player.told("verifying")[0] >= 15.0


def test_a_restored_revision_that_errs_as_much_is_never_called_recovered() -> None:
    """A thousand requests come within seconds: enough to count, too soon for an alarm."""
    player = play(
        World(
            requests=lambda at: (80.0, 1000.0) if at > T0 + 100.0 else (0.0, 1000.0),
            restored_requests=steady(1000.0, 80.0),
        ),
        ends_at=T0 + 2000.0,
    ).run()
    assert player.announced("recovered") == []
    assert player.watch.outcome is Outcome.FAILED
    assert "did not help: error_rate < 1% is broken on it too" in player.watch.reason


def test_too_few_requests_since_leave_recovery_unproven() -> None:
    player = play(erring(restored_requests=steady(0.1))).run()
    assert player.watch.outcome is Outcome.ROLLED_BACK
    assert "recovery of error_rate < 1% not proven" in player.watch.reason
    restored = player.told("restored")[0]
    assert player.told("recovered")[0] == pytest.approx(restored + 600.0, abs=2.0)


# --- not recovered -----------------------------------------------------------------------------------------------


def test_a_rollback_that_did_not_help_is_said_after_ninety_seconds_once() -> None:
    player = play(down(restored=down_from(0.0)), ends_at=T0 + 900.0).run()
    restored = player.told("restored")[0]
    assert player.told("not_recovered") == [pytest.approx(restored + 90.0, abs=1.1)]
    assert player.watch.outcome is Outcome.FAILED
    assert "did not help: probe" in player.watch.reason
    assert "answered 503, expected 200" in player.watch.reason
    assert player.restores == 1, "never ping-pong"
    assert len(player.messages("not_recovered")) == 1


def test_the_probe_that_fails_is_named_even_when_another_answered_last() -> None:
    half = lambda n, at: fails(at) if n == "health" else ok(at)  # noqa: E731
    player = play(down(restored=half), ends_at=T0 + 900.0).run(300.0)
    assert "did not help: probe health fails (answered 503, expected 200)" in player.watch.reason


def test_a_late_recovery_after_it_did_not_help_stays_failed() -> None:
    player = play(down(restored=down_from(0.0, until_s=400.0))).run()
    assert player.told("not_recovered")
    assert player.told("recovered")
    assert player.watch.outcome is Outcome.FAILED


def test_a_restored_service_that_stumbles_within_ninety_seconds_may_still_recover() -> None:
    player = play(down(restored=down_from(0.0, until_s=150.0))).run()
    assert player.told("not_recovered") == []
    assert player.watch.outcome is Outcome.ROLLED_BACK


# --- routing -----------------------------------------------------------------------------------------------------


def test_a_write_that_is_not_routed_is_said_after_a_minute() -> None:
    player = play(down(routed_after_s=400.0), ends_at=T0 + 1200.0).run(300.0)
    assert player.told("not_routed") == [pytest.approx(player.told("traffic_written")[0] + 60.0)]
    assert "does not serve api-00001 100 % after 60 s" in player.messages("rollback_failed")[0]["happened"]


def test_a_write_that_failed_says_what_to_do_by_hand() -> None:
    def failed(watch: Watch, at: float) -> Written:
        return Written(at=at, result="failed", reason="403: no permission", before=watch.split)

    player = play(down(write=failed), ends_at=T0 + 600.0).run()
    assert player.watch.outcome is Outcome.FAILED
    assert "by hand now: `gcloud run services update-traffic" in player.messages("rollback_failed")[0]["todo"]
    assert player.watch.reason == "The rollback of barq-fleet-api (us-central1) failed: 403: no permission."


def test_the_bad_revision_that_is_put_back_is_paged_and_not_fought() -> None:
    player = play(down()).run(106.0)
    player.traffic({NEW: 100})
    assert player.watch.outcome is Outcome.FAILED
    assert player.told("bad_revision_back") == [106.0]
    player.run(400.0)
    assert player.restores == 1


def test_a_target_that_keeps_a_part_of_the_bad_revision_is_no_relapse() -> None:
    """The caller named a split that holds the revision itself; whoever wrote that split gets what they asked for."""
    target = Split.of({OLD: 90, NEW: 10})
    player = play(down(), target=Target(split=target, source="caller")).run(106.0)
    player.traffic({OLD: 90, NEW: 10})
    assert player.told("bad_revision_back") == []


def test_a_newer_revision_that_takes_over_ends_the_watch_and_resolves_the_incident() -> None:
    before_routing = play(down(routed_after_s=1e6)).run(110.0)
    before_routing.traffic({"api-00003": 100}, newer=True)
    afterwards = play(down()).run(106.0)
    afterwards.traffic({"api-00003": 100}, newer=True)
    for player in (before_routing, afterwards):
        assert player.watch.outcome is Outcome.ROLLED_BACK
        assert player.messages("rolled_back")[-1]["incident"]["action"] == "resolve"


# --- near the end ------------------------------------------------------------------------------------------------


def test_a_rollback_decided_at_the_very_end_is_carried_to_its_end() -> None:
    player = play(down(), ends_at=T0 + 105.0).run()
    assert player.watch.outcome is Outcome.ROLLED_BACK
    assert player.announced("recovered")


def test_verification_that_never_gets_an_answer_ends_some_day() -> None:
    player = play(down(restored=lambda n, at: missing(at)), ends_at=T0 + 300.0).run()
    assert player.watch.outcome is Outcome.ROLLED_BACK
    assert "ended before recovery was proven" in player.watch.reason
    assert player.watch.ended_at is not None
    assert player.watch.ended_at <= T0 + 105.0 + 600.0 + 121.0


def test_a_write_whose_answer_never_comes_ends_the_watch_as_failed() -> None:
    player = play(down(), ends_at=T0 + 300.0).run(104.2)
    player._queue.clear()
    player.run()
    assert player.watch.outcome is Outcome.FAILED
    assert "was being rolled back" in player.watch.reason


def test_while_verifying_the_restored_service_is_asked_each_second_and_traffic_read() -> None:
    player = play(down()).run(111.0)
    now = plan(player.watch)
    assert player.watch.state is State.VERIFYING
    assert {(a.role, a.purpose, a.every_s) for a in now.asks} == {(Role.PUBLIC, Purpose.VERIFY, 1.0)}
    assert now.metrics == OLD
    assert now.traffic_every_s == 1.0
    assert Player(World(), opening()).watch.state is State.WATCHING
