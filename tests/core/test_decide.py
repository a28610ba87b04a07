"""Proof into action: rolled back, held, asked, refused or kept waiting, and never twice."""

import pytest

from tests.core.player import Player, World, down_from, play, refused, steady, well, written
from tests.core.watches import NEW, T0, fails, ok, opening, policy, sampled
from watchdog.core.events import Signalled, Target, Written
from watchdog.core.model import Action, Deploy, Outcome, Split, State, Value
from watchdog.core.probing import ProbeAnswer
from watchdog.core.state import Watch

DOWN = down_from(100.0)


def broken(**more: object) -> World:
    """Down from second 100 on; the control is well."""
    world = World(public=DOWN, own=DOWN)
    for key, value in more.items():
        setattr(world, key, value)
    return world


def erring(rate: float = 0.1, begins: float = 100.0, ends: float = 1e9) -> World:
    """Probes are green, requests fail."""
    return World(requests=lambda at: (50.0 * rate, 50.0) if T0 + begins < at <= T0 + ends else (0.0, 50.0))


# --- modes -------------------------------------------------------------------------------------------------------


def test_approve_mode_asks_once_and_rolls_back_on_a_persons_word() -> None:
    player = play(broken(), policy(rollback={"mode": "approve"})).run(300.0)
    assert player.restores == 0
    assert player.watch.state is State.AWAITING_APPROVAL
    assert len(player.messages("approval")) == 1
    player.operate("rollback", reason="go")
    player.run(330.0)
    assert player.restores == 1
    assert "alice asked for it: go (health_check failing: probe" in player.watch.reason


def test_nobody_answering_fails_the_watch_even_if_the_service_recovers() -> None:
    made = policy(rollback={"mode": "approve", "approve_within": "5m"})
    player = play(World(public=down_from(100.0, until_s=200.0), own=DOWN), made, ends_at=T0 + 900.0).run()
    assert player.watch.outcome is Outcome.FAILED
    assert "nobody approved it in time" in player.watch.reason
    assert player.restores == 0


def test_a_resume_does_not_lose_the_question() -> None:
    player = play(broken(), policy(rollback={"mode": "approve"})).run(200.0)
    player.operate("pause")
    player.operate("resume")
    player.run(300.0)
    assert len(player.messages("approval")) == 1
    player.operate("rollback")
    assert player.restores == 1


def test_observe_mode_says_what_it_would_have_done_and_fails() -> None:
    def observed(watch: Watch, at: float) -> Written:
        return Written(at=at, result="observed", reason="would have moved traffic", after=Split.of({"api-00001": 100}))

    player = play(broken(write=observed), policy(rollback={"mode": "observe"}), ends_at=T0 + 400.0).run()
    assert player.watch.decisions[0].reason.startswith("Would roll back")
    assert player.watch.outcome is Outcome.FAILED
    assert player.told("traffic_written") == []


# --- refusals ----------------------------------------------------------------------------------------------------


def test_a_deploy_that_is_not_safe_to_undo_is_never_undone() -> None:
    deploy = Deploy(service=opening().deploy.service, revision=NEW, rollback_safe=False)
    player = play(broken(), deploy=deploy, ends_at=T0 + 900.0).run()
    assert player.restores == 0
    assert player.watch.outcome is Outcome.FAILED
    assert len(player.messages("rollback_failed")) == 2, "once when it is refused, once at the end"
    assert "not safe to roll back" in player.watch.reason


def test_without_a_target_somebody_is_woken() -> None:
    player = play(broken(), target=Target(), tags=(), ends_at=T0 + 300.0).run()
    assert player.restores == 0
    assert "no revision is known that served before" in player.watch.reason
    assert player.messages("rollback_failed")[0]["incident"]["action"] == "trigger"


def test_a_preflight_that_refuses_fails_the_watch() -> None:
    player = play(broken(write=refused("the target is gone")), ends_at=T0 + 900.0).run()
    assert player.restores == 1
    assert player.watch.outcome is Outcome.FAILED
    assert "the target is gone" in player.watch.reason
    assert [d.action for d in player.watch.decisions] == [Action.ROLLBACK]


def test_over_budget_it_is_decided_again_when_the_budget_allows() -> None:
    tries = []

    def budget(watch: Watch, at: float) -> Written:
        tries.append(at - T0)
        if at < T0 + 400.0:
            return refused("3 rollbacks in 24 h are the daily budget (3)", retry_at=T0 + 400.0)(watch, at)
        return written(watch, at)

    player = play(broken(write=budget)).run(500.0)
    assert [round(t) for t in tries] == [104, 400]
    assert player.watch.outcome is Outcome.ROLLED_BACK
    assert len(player.messages("rollback_failed")) == 1


def test_what_was_over_budget_and_recovered_by_itself_is_failed_all_the_same() -> None:
    world = World(public=down_from(100.0, until_s=200.0), own=DOWN, write=refused("over budget", retry_at=T0 + 400.0))
    player = play(world, ends_at=T0 + 900.0).run()
    assert player.restores == 1
    assert player.watch.outcome is Outcome.FAILED
    assert "over budget" in player.watch.reason
    assert player.messages("recovered")[0]["incident"]["action"] == "resolve"


def test_a_sick_control_does_not_shorten_the_wait_for_the_budget() -> None:
    sick = down_from(110.0, until_s=200.0)
    world = broken(control=sick, write=refused("over budget", retry_at=T0 + 3000.0))
    player = play(world).run(600.0)
    assert player.restores == 1
    assert player.watch.hold is not None
    assert player.watch.hold.kind == "retry"


# --- people ------------------------------------------------------------------------------------------------------


def test_a_persons_hold_stands_whatever_the_probes_say() -> None:
    player = play(broken(control=down_from(150.0, until_s=200.0))).run(90.0)
    player.operate("hold", reason="we know")
    player.run(800.0)
    assert player.restores == 0
    assert player.watch.hold is not None
    assert player.watch.hold.kind == "person"
    player.operate("resume")
    player.run(830.0)
    assert player.restores == 1


def test_an_error_alarm_of_a_held_time_is_acted_on_when_it_is_resumed() -> None:
    player = play(erring(begins=100.0, ends=400.0)).run(90.0)
    player.operate("hold")
    player.run(210.0)
    assert player.row("success.error_rate").alarmed_at is not None
    player.operate("resume")
    player.run(230.0)
    assert player.restores == 1


def test_a_paused_watch_writes_nothing_and_says_what_it_would_do() -> None:
    player = play(broken()).run(50.0)
    player.operate("pause")
    player.run(400.0)
    assert player.restores == 0
    assert player.watch.state is State.PAUSED
    assert "but the watch is paused, so nothing is written" in player.messages("held")[0]["happened"]
    player.operate("resume")
    player.run(430.0)
    assert player.restores == 1


def test_what_has_recovered_while_paused_is_left_alone() -> None:
    player = play(World(public=down_from(100.0, until_s=200.0), own=DOWN)).run(50.0)
    player.operate("pause")
    player.run(700.0)
    player.operate("resume")
    player.run(800.0)
    assert player.restores == 0
    assert player.watch.state is State.WATCHING


def test_a_person_may_roll_back_a_healthy_revision() -> None:
    player = play().run(100.0)
    player.operate("rollback", reason="wrong prices")
    player.run(130.0)
    assert player.restores == 1
    assert "on the word of alice: alice asked for it: wrong prices" in player.watch.decisions[0].reason


def test_a_person_may_try_again_what_the_api_refused() -> None:
    calls = []

    def flaky(watch: Watch, at: float) -> Written:
        calls.append(at)
        return Written(at=at, result="failed", reason="503") if len(calls) == 1 else written(watch, at)

    player = play(broken(write=flaky)).run(150.0)
    assert player.watch.reason == "The rollback of barq-fleet-api (us-central1) failed: 503."
    player.operate("rollback", reason="again")
    player.run(200.0)
    assert player.watch.outcome is Outcome.ROLLED_BACK


def test_one_rollback_a_watch() -> None:
    player = play(broken()).run(106.0)
    assert player.restores == 1
    player.operate("rollback", reason="me too")
    player.operate("hold", reason="too late")
    player.run(200.0)
    assert player.restores == 1
    assert player.watch.outcome is Outcome.ROLLED_BACK


def test_extending_a_watch_that_has_no_end_yet_is_ignored() -> None:
    player = Player(World(), opening(cutover_at=None, split=Split.of({"api-00001": 100})))
    player.operate("extend", for_s=3600.0)
    assert player.watch.timeline[-1].kind == "ignored"


def test_acknowledging_needs_an_incident_and_is_told_to_the_pager() -> None:
    player = play(broken(control=DOWN)).run(50.0)
    player.operate("ack")
    assert player.watch.timeline[-1].kind == "ignored"
    player.run(120.0)
    player.operate("ack")
    assert player.messages("note")[0]["incident"]["action"] == "acknowledge"
    assert player.watch.incident is not None
    assert player.watch.incident.acknowledged_by == "alice"


# --- signals -----------------------------------------------------------------------------------------------------


def test_a_listed_signal_rolls_back_at_once() -> None:
    player = play().run(100.0)
    player.signal("database_corruption")
    assert player.restores == 1
    assert "alice says database corruption: two shops report it" in player.watch.decisions[0].reason


def test_any_other_signal_is_said_and_moves_nothing() -> None:
    player = play().run(100.0)
    player.signal("support_ticket")
    assert player.restores == 0
    assert player.watch.decisions[0].action is Action.INVESTIGATE
    assert "does not list this signal" in player.messages("warning")[0]["did"]


@pytest.mark.parametrize("verb", ["pause", "hold"])
def test_a_signal_of_a_paused_or_held_time_is_paged_and_acted_on_when_resumed(verb: str) -> None:
    player = play(World(public=down_from(100.0, until_s=150.0), own=DOWN)).run(50.0)
    player.operate(verb)
    player.run(300.0)
    player.signal("database_corruption")
    assert player.restores == 0
    assert any("database corruption" in m["happened"] for m in player.messages("held"))
    player.operate("resume")
    assert player.restores == 1


def test_a_signal_while_the_budget_is_spent_is_acted_on_when_it_allows() -> None:
    answers = [refused("over budget", retry_at=T0 + 400.0)]

    def budget(watch: Watch, at: float) -> Written:
        return (answers.pop() if answers else written)(watch, at)

    world = World(public=down_from(100.0, until_s=150.0), own=DOWN)
    world.write = budget
    player = play(world).run(300.0)
    player.signal("database_corruption")
    player.run(430.0)
    assert player.restores == 2
    assert player.watch.outcome is Outcome.ROLLED_BACK


def test_a_signal_before_the_first_traffic_rolls_nothing_back() -> None:
    player = Player(World(), opening(cutover_at=None, split=Split.of({"api-00001": 100})))
    player.fold(Signalled(at=T0 + 5.0, signal="database_corruption"))
    assert player.restores == 0


# --- alarms of counts: warming -----------------------------------------------------------------------------------


def test_the_target_is_asked_whether_it_is_well_before_traffic_moves() -> None:
    player = play(erring()).run(400.0)
    assert player.restores == 1
    warmed, decided = player.told("warming")[0], player.told("decision")[-1]
    assert decided - warmed <= 1.0, "it answers at once"


def test_a_target_that_is_as_sick_is_not_rolled_back_to_after_the_first_hour() -> None:
    player = play(
        World(
            control=down_from(0.0),
            requests=lambda at: (5.0, 50.0) if at > T0 + 4000.0 else (0.0, 50.0),
        )
    ).run(5000.0)
    assert player.restores == 0
    assert player.watch.hold is not None
    assert player.watch.hold.kind == "shared"
    assert len(player.messages("held")) == 1


def test_a_probe_with_a_wrong_path_does_not_shield_a_release_that_fails_its_users() -> None:
    """It fails on the target too, as it does everywhere: that is no shared cause."""

    def wrong(name: str, at: float) -> ProbeAnswer:
        return fails(at, "status") if name == "ready" else ok(at)

    world = World(public=wrong, own=wrong, control=wrong)
    world.requests = lambda at: (5.0, 50.0) if at > T0 + 4000.0 else (0.0, 50.0)
    player = play(world, armed=("health",)).run(4200.0)
    assert player.restores == 1


def test_a_target_that_hangs_holds_nothing_up() -> None:
    player = play(World(control=down_from(0.0, "timeout"), requests=erring().requests)).run(400.0)
    assert player.restores == 1
    assert player.told("decision")[-1] - player.told("warming")[0] <= 5.1


def test_a_hold_of_counts_ends_when_the_target_is_well_again() -> None:
    player = play(World(control=down_from(0.0, until_s=200.0), requests=erring().requests)).run(260.0)
    assert player.messages("held")
    assert player.restores == 1
    assert 200.0 <= player.told("decision")[-1] <= 206.0


def test_an_alarm_that_clears_meanwhile_releases_the_hold() -> None:
    world = World(control=down_from(4000.0), requests=erring(begins=4000.0, ends=4100.0).requests)
    player = play(world).run(5000.0)
    assert player.restores == 0
    assert player.watch.hold is None
    assert "has cleared" in player.messages("recovered")[0]["happened"]


def test_a_green_probe_never_clears_a_user_traffic_alarm() -> None:
    """Held for an edge fault while requests fail too: when the edge is well again, the requests still count."""
    world = World(public=down_from(100.0, until_s=300.0), own=well, requests=erring(0.2, 100.0).requests)
    player = play(world).run(340.0)
    assert player.messages("held")
    assert player.restores == 1
    assert "error_rate" in player.announced("decision")[-1].fields["criterion"]


# --- advice ------------------------------------------------------------------------------------------------------


def test_a_critical_row_that_asks_for_a_person_opens_an_incident_and_a_warning_does_not() -> None:
    player = play()
    for k in range(1, 8):
        player.run(60.0 * k)
        player.fold(sampled("cpu_usage", 60.0 * k, Value(0.75 if k < 5 else 0.95), width=60.0))
    player.run(900.0)
    for k in range(16, 22):
        player.run(60.0 * k)
        player.fold(sampled("cpu_usage", 60.0 * k, Value(0.95), width=60.0))
    warning, critical = player.messages("warning")
    assert (warning["severity"], warning["incident"]) == ("warning", None)
    assert (critical["severity"], critical["incident"]["action"]) == ("critical", "trigger")


def test_no_message_repeats_a_key() -> None:
    player = play(broken(control=down_from(0.0, until_s=150.0)), ends_at=T0 + 900.0).run()
    keys = [c.key for c in player.commands if hasattr(c, "key")]
    assert len(keys) == len(set(keys))
    assert steady(1.0)(0.0) == (0.0, 1.0)
