"""Hard down: proven within its bound, and only what a rollback can help is rolled back."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.player import Answers, Player, World, down_from, play, well
from tests.core.watches import (
    NEW,
    OLD,
    POLICY,
    T0,
    TAGS,
    confirming,
    fails,
    missing,
    ok,
    opening,
    policy,
    regular,
)
from watchdog.core import watch as folding
from watchdog.core.events import Probed
from watchdog.core.model import Action, Split, State, Verdict
from watchdog.core.schedule import plan
from watchdog.core.state import Watch

DOWN = down_from(100.0)


def sick() -> World:
    """The revision is down, wherever it is asked."""
    return World(public=DOWN, own=DOWN)


def only(name: str, answers: Answers) -> Answers:
    """One probe is answered so, the others pass."""
    return lambda probe, at: answers(probe, at) if probe == name else ok(at)


def manual(**changes: Any) -> Watch:
    """A watch without a player: each answer is given by hand."""
    watch, _ = folding.opened(opening(**changes))
    return advance(watch, regular("health", ok(T0 + 1.0)))


def advance(watch: Watch, *events: Probed) -> Watch:
    for event in events:
        watch, _ = folding.advance(watch, event)
    return watch


def started(watch: Watch) -> Watch:
    """The regular probe of second 100 has failed."""
    return advance(watch, regular("health", fails(T0 + 100.0)))


# --- how many, how fast ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason, timeout", [("status", 0.05), ("refused", 0.05), ("timeout", 3.0)])
@pytest.mark.parametrize("begins, failures", [(100.0, 5), (1000.0, 10), (7200.0, 20)])
def test_it_is_decided_within_the_promised_time(reason: str, timeout: float, begins: float, failures: int) -> None:
    """`(failures − 1) × every + timeout` after the first failed answer, however the attempts fail."""
    down = down_from(begins, reason)
    player = play(World(public=down, own=down)).run(begins + 120.0)
    first = player.watch.rollback.trigger if player.watch.rollback else None
    assert first is not None
    failed_at = player.announced("probe_failed")[0].at
    decided_at = player.announced("decision")[0].at
    assert decided_at - failed_at <= (failures - 1) * 1.0 + timeout + 0.001
    assert f"failed {failures} times in a row" in first.sentence


@pytest.mark.parametrize("failures, restores", [(4, 0), (5, 1)])
def test_four_failures_are_not_five(failures: int, restores: int) -> None:
    watch = started(manual())
    for attempt in range(1, failures):
        watch = advance(watch, confirming("health", attempt, fails(T0 + 100.0 + attempt)))
    assert (watch.rollback is not None) is bool(restores)


def test_one_pass_ends_it_and_the_count_begins_anew() -> None:
    watch = started(manual())
    for attempt in range(1, 4):
        watch = advance(watch, confirming("health", attempt, fails(T0 + 100.0 + attempt)))
    watch = advance(watch, confirming("health", 4, ok(T0 + 104.0)))
    assert (watch.state, dict(watch.confirmations)) == (State.WATCHING, {})
    watch = advance(watch, confirming("health", 5, fails(T0 + 105.0)))
    assert watch.confirmations == {}


def test_a_regular_probe_that_passes_meanwhile_ends_it_too() -> None:
    """Failures in a row have no pass between them, whoever asked."""
    watch = started(manual())
    for attempt in range(1, 4):
        watch = advance(watch, confirming("health", attempt, fails(T0 + 100.0 + attempt)))
    watch = advance(watch, regular("health", ok(T0 + 103.5)))
    watch = advance(watch, confirming("health", 4, fails(T0 + 104.0)))
    assert watch.rollback is None


@given(st.permutations(range(1, 8)))
def test_the_order_in_which_attempts_are_answered_does_not_matter(order: list[int]) -> None:
    """Attempts that hang overlap: five in a row are the first five sent."""
    watch = started(manual())
    for attempt in order:
        watch = advance(watch, confirming("health", attempt, fails(T0 + 100.0 + attempt, "timeout")))
    assert watch.rollback is not None
    assert watch.confirmations["health"].waiting == {}


@given(
    answers=st.lists(st.sampled_from(["fail", "missing"]), min_size=6, max_size=25),
    confirmed=st.sampled_from([3, 5]),
)
@settings(max_examples=60)
def test_our_own_faults_neither_count_nor_break_the_row(answers: list[str], confirmed: int) -> None:
    watch = started(manual(of=policy(confirm={"failures": confirmed, "every": "1s"})))
    failures = 1
    for attempt, answer in enumerate(answers, 1):
        at = T0 + 100.0 + attempt
        watch = advance(watch, confirming("health", attempt, fails(at) if answer == "fail" else missing(at)))
        failures += answer == "fail"
        assert (watch.rollback is not None) is (failures >= confirmed)


def test_our_own_network_being_gone_is_not_the_services_fault() -> None:
    player = play(World(public=lambda n, at: missing(at) if at - T0 > 100.0 else ok(at))).run(800.0)
    assert player.restores == 0
    assert player.announced("confirming") == []


def test_a_lone_failure_is_a_note() -> None:
    player = play(World(public=lambda n, at: fails(at) if at == T0 + 100.0 else ok(at))).run(860.0)
    assert player.told("probe_failed") == [100.05, 100.05]
    assert player.told("probe_passed") == [101.1, 101.1]
    assert player.announced("decision") == []
    assert player.watch.state is State.WATCHING


def test_a_run_of_timeouts_shorter_than_the_startup_time_does_not_count() -> None:
    slow = {"health": {"path": "/health", "timeout": "3s", "startup": "20s"}}
    made = policy(probes=slow)

    def starting(until_s: float) -> Player:
        hangs = down_from(100.0, "timeout", until_s)
        return play(World(public=hangs, own=hangs), made).run(200.0)

    assert starting(115.0).restores == 0
    late = starting(1e9)
    assert late.restores == 1
    assert 120.0 <= late.told("decision")[0] <= 123.1
    refused = play(World(public=DOWN, own=DOWN), made).run(200.0)
    assert refused.told("decision")[0] < 105.0


# --- what the policy asks for ------------------------------------------------------------------------------------


def test_a_probe_that_is_not_critical_only_warns() -> None:
    made = policy(probes={"health": {"path": "/h"}, "extra": {"path": "/x", "critical": False}})
    broken = only("extra", DOWN)
    player = play(World(public=broken, own=broken), made).run(400.0)
    assert player.restores == 0
    assert "this probe is not critical" in player.messages("warning")[0]["did"]


def test_a_row_of_one_probe_alone_rolls_back_for_that_probe() -> None:
    made = policy(rollback={"immediately_if": ["probe.ready failing"]})
    ready = play(World(public=only("ready", DOWN), own=only("ready", DOWN)), made).run(120.0)
    assert ready.restores == 1
    assert ready.watch.rollback is not None
    assert ready.watch.rollback.trigger.criterion == "probe.ready failing"
    other = play(World(public=only("health", DOWN), own=only("health", DOWN)), made).run(106.0)
    assert other.restores == 0


def test_without_a_failing_row_the_meter_decides() -> None:
    made = policy(rollback={"immediately_if": ["error_rate > 5%"]})
    player = play(sick(), made).run(400.0)
    assert player.restores == 1
    assert "health_check 100%" in player.announced("decision")[-1].fields["criterion"]
    assert 140.0 <= player.told("decision")[-1] <= 170.0


def flickering(share: float, begins: float, seed: str) -> Answers:
    """Fails this share of the time, each time by itself."""
    rng = random.Random(seed)
    return lambda name, at: fails(at) if at - T0 > begins and rng.random() < share else ok(at)


def test_a_flickering_probe_is_found_by_the_meter() -> None:
    public, own = (only("ready", flickering(0.4, 100.0, path)) for path in ("public", "own"))
    player = play(World(public=public, own=own)).run(800.0)
    assert player.restores == 1
    reason = player.announced("decision")[-1].fields["reason"]
    assert "probes failed in" in reason
    assert "probe ready" in reason


def test_a_flickering_edge_is_not_the_revisions_fault() -> None:
    player = play(World(public=flickering(0.4, 100.0, "public"), own=well)).run(800.0)
    assert player.restores == 0
    assert player.watch.hold is not None
    assert player.watch.hold.kind == "edge"
    assert len(player.messages("held")) == 1


def test_a_flickering_edge_that_turns_out_to_be_the_revision_is_rolled_back() -> None:
    player = play(World(public=flickering(0.4, 100.0, "public"), own=down_from(500.0))).run(1200.0)
    assert player.messages("held")
    assert player.restores == 1


# --- a mixed split -----------------------------------------------------------------------------------------------

CANARY = Split.of({NEW: 10, OLD: 90})


def test_a_canary_is_judged_at_its_own_url() -> None:
    innocent = play(World(public=DOWN, own=well), split=CANARY).run(300.0)
    assert innocent.restores == 0
    assert innocent.announced("confirming") == []
    guilty = play(World(public=well, own=DOWN), split=CANARY).run(110.0)
    assert guilty.restores == 1


def test_without_a_tag_a_canary_is_not_judged_by_probes() -> None:
    player = play(World(public=DOWN, own=DOWN), split=CANARY, tags=TAGS[:1]).run(300.0)
    assert player.restores == 0
    assert not plan(player.watch).asks


def test_a_probe_with_a_url_of_its_own_proves_nothing_about_a_canary() -> None:
    made = policy(probes={"health": {"path": "/health"}, "shop": {"url": "https://shop.example/"}})
    player = Player(World(), opening(made, split=CANARY)).run(1.0)
    assert {a.probe for a in plan(player.watch).asks} == {"health"}


# --- what is said ------------------------------------------------------------------------------------------------


def test_the_failing_row_says_what_it_rests_on() -> None:
    player = play(World(public=DOWN, own=DOWN, control=DOWN)).run(110.0)
    state = player.row("immediate.health_check")
    assert state.verdict is Verdict.FAIL
    assert "answered 503, expected 200; needed 5" in state.reason


def test_a_decision_says_action_evidence_window_and_target() -> None:
    player = play(sick()).run(110.0)
    decision = player.watch.decisions[-1]
    assert decision.action is Action.ROLLBACK
    assert decision.reason == (
        "Rolling back barq-fleet-api (us-central1) from api-00002 to api-00001 100 %: health_check failing: probe "
        "health failed 5 times in a row over 4.1 s (answered 503, expected 200; needed 5) in the immediate window."
    )
    assert POLICY.rollback.per_day == 3
