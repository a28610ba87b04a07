"""Before a hard-down service is rolled back: whose fault is it, would it help, and may this probe say so at all?"""

import pytest

from tests.core.player import Answers, Player, World, down_from, play, well
from tests.core.watches import T0, confirming, fails, missing, ok, opening, regular
from watchdog.core import watch as folding
from watchdog.core.events import Event, Resumed
from watchdog.core.model import Outcome, State
from watchdog.core.probing import ProbeAnswer, Purpose, Role
from watchdog.core.schedule import plan

DOWN = down_from(100.0)


def sick() -> World:
    """The revision is down, wherever it is asked."""
    return World(public=DOWN, own=DOWN)


def only(name: str, answers: Answers) -> Answers:
    """One probe is answered so, the others pass."""
    return lambda probe, at: answers(probe, at) if probe == name else ok(at)


# --- would a rollback help? --------------------------------------------------------------------------------------


def test_the_fault_is_at_the_edge_when_the_revision_answers_at_its_own_url() -> None:
    player = play(World(public=DOWN, own=well)).run(400.0)
    assert player.restores == 0
    assert player.watch.hold is not None
    assert player.watch.hold.kind == "edge"
    held = player.messages("held")
    assert len(held) == 1
    assert held[0]["incident"]["action"] == "trigger"
    assert "the fault is at the edge" in held[0]["happened"]


def test_an_edge_fault_that_turns_out_to_be_the_revisions_is_rolled_back() -> None:
    player = play(World(public=DOWN, own=down_from(110.0))).run(130.0)
    assert player.told("held") == [pytest.approx(104.1)]
    assert player.restores == 1


def test_a_hold_ends_when_the_probe_passes_again_and_the_incident_is_resolved() -> None:
    player = play(World(public=down_from(100.0, until_s=200.0), own=well)).run(300.0)
    assert player.watch.hold is None
    assert player.watch.state is State.WATCHING
    assert player.messages("recovered")[0]["incident"]["action"] == "resolve"


@pytest.mark.parametrize("begins, until", [(100.0, 220.0), (1000.0, None), (7200.0, None)])
def test_a_shared_cause_is_asked_about_in_the_immediate_window_and_holds_later(
    begins: float, until: float | None
) -> None:
    down = down_from(begins)
    player = play(World(public=down, own=down, control=down)).run(begins + 600.0)
    assert len(player.messages("held")) == 1
    if until is None:
        assert player.restores == 0
        assert player.watch.state is State.HELD
    else:
        assert player.restores == 1
        rolled_back_at = next(c.at for c in player.announced("decision")) - T0
        held_at = player.told("held")[0]
        assert rolled_back_at == pytest.approx(held_at + 120.0, abs=1.1)


def test_a_control_that_is_well_again_ends_the_hold_once_the_new_one_failed_beside_it() -> None:
    player = play(World(public=DOWN, own=DOWN, control=down_from(0.0, until_s=150.0))).run(160.0)
    assert len(player.messages("held")) == 1
    assert 152.0 <= player.told("decision")[0] <= 154.1


@pytest.mark.parametrize("later_s", [0.0, 0.1, 0.5, 0.9, 1.5])
def test_what_both_depend_on_comes_back_and_the_control_is_asked_first(later_s: float) -> None:
    """Its pass says nothing yet of the new one, which passes a moment later."""
    for phase_s in (0.0, 0.3, 0.7):
        until_s = 160.0 + phase_s
        new = down_from(100.0, until_s=until_s + later_s)
        control = down_from(100.0, until_s=until_s)
        player = play(World(public=new, own=new, control=control)).run(300.0)
        assert len(player.messages("held")) == 1
        assert player.restores == 0
        assert player.watch.state is State.WATCHING


@pytest.mark.parametrize("start_s", [1000.0, 5000.0])
def test_a_control_that_is_ill_for_its_own_reasons_does_not_excuse_for_ever(start_s: float) -> None:
    """It fails every third time, so it never passes until the release has failed three times beside it."""

    def every_third(name: str, at: float) -> ProbeAnswer:
        return fails(at) if int(at - T0) % 3 == 0 else ok(at)

    down = down_from(start_s)
    player = play(World(public=down, own=down, control=every_third)).run(start_s + 120.0)
    assert player.restores == 1


def test_a_control_that_passes_now_and_then_is_as_sick() -> None:
    """An idle revision gets one of the last connections sometimes: going back would not help."""

    def mostly_sick(name: str, at: float) -> ProbeAnswer:
        return ok(at) if int(at - T0) % 3 == 0 else fails(at)

    down = down_from(1000.0)
    player = play(World(public=down, own=down, control=mostly_sick)).run(2500.0)
    assert player.restores == 0
    assert player.watch.hold is not None


def test_a_control_that_starts_cold_delays_nothing() -> None:
    world = World(public=DOWN, own=DOWN, control=down_from(0.0, "timeout", until_s=103.5))
    player = play(world).run(130.0)
    assert player.restores == 1
    assert not player.messages("held")


def test_sickness_from_before_the_cutover_always_holds() -> None:
    always = down_from(-1.0)
    first = opening(sick_before=("health",))
    world = World(public=only("health", always), own=only("health", always), control=only("health", always))
    player = Player(world, first).run(800.0)
    assert player.restores == 0
    assert "before this deploy already" in player.messages("held")[0]["happened"]


def test_a_control_that_cannot_be_asked_ends_no_hold() -> None:
    """Our own network drops one answer of the control: that is no good news from it."""
    down = down_from(1000.0)
    gone = {T0 + 1020.0 + k for k in range(5)}
    control = lambda n, at: missing(at) if round(at, 0) in gone else down(n, at)  # noqa: E731
    player = play(World(public=down, own=down, control=control)).run(1200.0)
    assert player.restores == 0
    assert len(player.messages("held")) == 1


def test_a_control_that_only_times_out_is_starting_cold_until_it_has_answered() -> None:
    cold = down_from(0.0, "timeout")
    player = play(World(public=DOWN, own=DOWN, control=cold)).run(130.0)
    assert player.restores == 1, "five failures of the new one, the old one may be asleep"

    known = Player(World(public=DOWN, own=DOWN, control=cold), opening())
    known.fold(confirming("health", 0, ok(T0 + 5.0), role=Role.CONTROL))
    known.fold(confirming("ready", 0, ok(T0 + 5.0), role=Role.CONTROL))
    known.run(130.0)
    assert known.restores == 0
    assert known.watch.hold is not None


def test_a_control_that_fails_now_so_now_so_is_not_the_same_cause() -> None:
    flicker = lambda n, at: fails(at, "status" if int(at) % 2 else "reset")  # noqa: E731
    player = play(World(public=DOWN, own=DOWN, control=flicker)).run(130.0)
    assert player.restores == 1


def test_two_probes_with_two_causes_page_once_and_the_deadline_is_kept() -> None:
    """One fault is at the edge, the other shared: no hold pushes the other aside in turns."""
    world = World(public=DOWN, own=only("ready", DOWN), control=only("ready", DOWN))
    player = play(world).run(400.0)
    assert len(player.messages("held")) <= 2
    assert player.restores == 1
    assert player.told("decision")[0] <= 100.0 + 7.0 + 120.0 + 5.0


def test_without_tags_nothing_is_asked_beside_and_the_public_path_decides() -> None:
    player = play(World(public=DOWN), tags=()).run(103.0)
    assert {a.role for a in plan(player.watch).asks} == {Role.PUBLIC}
    player.run(110.0)
    assert player.restores == 1


# --- armed? ------------------------------------------------------------------------------------------------------


def test_a_probe_that_never_passed_pages_and_moves_no_traffic() -> None:
    """A wrong path fails on every revision; in the meter's eyes, too, it is down."""
    wrong = only("ready", down_from(-1.0))
    player = play(World(public=wrong, own=wrong, control=wrong), armed=(), ends_at=T0 + 900.0).run()
    assert player.restores == 0
    warnings = player.messages("warning")
    assert len(warnings) == 1
    assert "has never passed as it is configured now" in warnings[0]["did"]
    assert warnings[0]["incident"]["action"] == "trigger"


def test_the_controls_pass_arms_it() -> None:
    broken = only("ready", down_from(-1.0))
    player = play(World(public=broken, own=broken, control=well), armed=()).run(60.0)
    assert player.restores == 1
    assert 4.0 <= player.told("decision")[0] <= 6.0


def test_it_is_armed_by_its_own_first_pass() -> None:
    player = play(sick(), armed=()).run(110.0)
    assert player.restores == 1


def test_without_any_control_a_watch_by_hand_takes_all_as_armed() -> None:
    player = play(World(public=down_from(-1.0)), armed=None, tags=()).run(30.0)
    assert player.restores == 1


def test_no_access_is_missing_until_the_control_passes() -> None:
    def closed(name: str, at: float) -> ProbeAnswer:
        return missing(at, "access")

    everywhere = play(World(public=closed, own=closed, control=closed), armed=(), ends_at=T0 + 300.0).run()
    assert everywhere.restores == 0
    assert everywhere.watch.outcome is Outcome.UNVERIFIED

    known = Player(World(public=closed, own=closed, control=well), opening(armed=()))
    known.fold(confirming("health", 0, ok(T0 + 1.0), role=Role.CONTROL))
    known.run(60.0)
    assert known.restores == 1


# --- restarts ----------------------------------------------------------------------------------------------------


def test_after_an_absence_nothing_is_in_a_row_any_more_and_asking_goes_on_at_once() -> None:
    watch, _ = folding.opened(opening())
    failing = [confirming("health", attempt, fails(T0 + 100.0 + attempt)) for attempt in range(1, 4)]
    away: list[Event] = [Resumed(at=T0 + 140.0, down_since=T0 + 104.0)]
    events: list[Event] = [regular("health", fails(T0 + 100.0)), *failing, *away]
    for event in events:
        watch, _ = folding.advance(watch, event)
    assert watch.confirmations["health"].failures == 0
    assert Purpose.CONFIRM in {a.purpose for a in plan(watch).asks}
    for attempt in range(1, 5):
        watch, _ = folding.advance(watch, confirming("health", attempt, fails(T0 + 140.0 + attempt)))
    assert watch.rollback is None
    watch, _ = folding.advance(watch, confirming("health", 5, fails(T0 + 145.0)))
    assert watch.rollback is not None


def test_a_hold_survives_a_restart_and_is_not_called_recovered() -> None:
    player = play(World(public=DOWN, own=DOWN, control=DOWN)).run(130.0)
    player.fold(Resumed(at=player.now, down_since=player.now - 20.0))
    player.run(240.0)
    assert player.messages("recovered") == []
    assert player.restores == 1


def test_what_was_proven_before_an_absence_does_not_roll_back_after_it() -> None:
    """The ask ends while the watchdog is away; meanwhile the service has recovered."""
    player = play(World(public=down_from(100.0, until_s=150.0), own=DOWN, control=DOWN)).run(130.0)
    assert player.watch.hold is not None
    away = Player(World(), opening())
    away.watch, away.now = player.watch, T0 + 1000.0
    away.fold(Resumed(at=T0 + 1000.0, down_since=T0 + 130.0))
    away.run(1030.0)
    assert away.restores == 0
