"""While both revisions serve, counts roll back only what the old revision does not share."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.player import Player, Traffic, World, play, steady
from tests.core.watches import NEW, OLD, T0, opening, policy
from watchdog.core import watch as folding
from watchdog.core.compare import LEAST_BASE, added, compare, normal, within
from watchdog.core.journal import decode, encode
from watchdog.core.model import Split, State
from watchdog.core.policy import Policy
from watchdog.core.schedule import plan
from watchdog.core.track import Point

HALF = Split.of({NEW: 50, OLD: 50})
BEFORE = {"error_rate": (40.0, 40_000.0)}
HOLDS = policy(shared_cause={"immediate": "hold", "short_term": "hold", "extended": "hold"})


def sick(share: float, begins: float = 100.0, ends: float = 1e9, a_slot: float = 50.0) -> Traffic:
    return lambda at: (a_slot * share if T0 + begins < at <= T0 + ends else 0.0, a_slot)


def mixed(requests: Traffic, control: Traffic | None, of: Policy = HOLDS, **more: Any) -> Player:
    world = World(requests=requests, control_requests=control)
    return play(world, of, split=HALF, **{"before": BEFORE, **more})


# --- the statistic ------------------------------------------------------------------------------------------------


def test_the_control_is_asked_what_its_counts_look_like_more() -> None:
    assert compare(bad=60, total=600, control_bad=55, control_total=600, base=0.001).says == "sick"
    assert compare(bad=60, total=600, control_bad=1, control_total=600, base=0.001).says == "well"
    assert compare(bad=60, total=600, control_bad=0, control_total=10, base=0.001).says == "early", "1 was expected"
    assert compare(bad=60, total=600, control_bad=0, control_total=0, base=0.001).says == "early"
    assert compare(bad=0, total=0, control_bad=5, control_total=9, base=0.001).says == "early"


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1, exclude_max=True))
def test_a_control_without_an_error_is_never_sick(bad: float, good: float, n: float, e: float, base: float) -> None:
    assert compare(bad=bad, total=bad + good, control_bad=0.0, control_total=n, base=base).says != "sick"
    alike = compare(bad=bad, total=bad + good, control_bad=min(e, n), control_total=n, base=base)
    more = compare(bad=bad, total=bad + good, control_bad=n, control_total=n, base=base)
    assert alike.says != "sick" or more.says == "sick", "more errors never make it well"


def test_what_is_normal_is_no_better_than_what_was_proven() -> None:
    assert normal(0.0, 0.0, 0.01) == 0.01, "nothing is known: what the row allows"
    assert normal(0.0, 60.0, 0.05) == pytest.approx(1 / 61)
    assert normal(0.0, 10.0, 0.01) == 0.01
    assert normal(0.0, 1e9, 0.01) == LEAST_BASE
    assert normal(300.0, 10_000.0, 0.01) == pytest.approx(0.03, rel=0.01), "it was over the limit already"


@given(st.lists(st.tuples(st.integers(0, 150), st.integers(0, 9)), max_size=60))
def test_an_arm_keeps_the_last_word_on_every_interval(seen: list[tuple[int, int]]) -> None:
    arm: tuple[Point, ...] = ()
    last: dict[int, int] = {}
    for slot, bad in seen:
        arm = added(arm, Point(5.0 * slot + 5.0, 5.0 * slot, bad, 10.0))
        last[slot] = bad
    assert [p.end for p in arm] == sorted(p.end for p in arm)
    assert within(arm, -1.0, 1e9) == (sum(last.values()), 10.0 * len(last))


# --- the decision -------------------------------------------------------------------------------------------------


def test_a_bad_release_beside_a_well_one_is_rolled_back_as_fast_as_alone() -> None:
    asked = mixed(sick(0.2), steady(50.0)).run(400.0)
    alone = play(World(requests=sick(0.2))).run(400.0)
    assert asked.restores == alone.restores == 1
    assert asked.told("decision")[0] - alone.told("decision")[0] <= 5.0
    assert f"{OLD} beside it: 0 of" in asked.watch.decisions[-1].reason


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_an_outage_that_both_share_is_held_and_passes(share: float) -> None:
    player = mixed(sick(share, 100.0, 700.0), sick(share, 100.0, 700.0)).run(1000.0)
    assert player.restores == 0
    (held,) = player.announced("held")
    assert held.fields["kind"] == "shared"
    assert f"{OLD} serves the same users badly" in held.fields["reason"]
    assert "0.1% before the deploy" in held.fields["reason"] or "0.1 % before the deploy" in held.fields["reason"]
    player.run(4000.0)
    assert player.watch.hold is None, "the row cleared, and with it the hold"
    assert player.restores == 0


def test_a_release_that_stays_bad_after_a_shared_outage_is_rolled_back() -> None:
    player = mixed(sick(0.2), sick(0.2, 100.0, 500.0)).run(460.0)
    assert player.watch.state is State.HELD
    player.run(900.0)
    assert player.restores == 1
    assert player.watch.decisions[-1].at - (T0 + 500.0) < 240.0
    assert any(e.kind == "released" and "is well" in e.text for e in player.watch.timeline)


def test_in_the_immediate_window_it_is_asked_about_and_then_rolled_back() -> None:
    player = mixed(sick(0.3), sick(0.3), policy()).run(400.0)
    (held,) = player.announced("held")
    (decided,) = [a for a in player.announced("decision") if a.fields["action"] == "rollback"]
    assert decided.at - held.at == pytest.approx(120.0, abs=1.0)
    assert player.restores == 1


def test_a_control_with_too_little_traffic_is_waited_for_a_minute_at_most() -> None:
    player = mixed(sick(0.2), steady(0.05)).run(400.0)
    alone = play(World(requests=sick(0.2))).run(400.0)
    assert player.restores == 1
    assert player.announced("comparing")[0].fields["control"] == OLD
    assert 55.0 <= player.told("decision")[0] - alone.told("decision")[0] <= 65.0


def test_a_control_that_nobody_counts_delays_a_minute_and_vetoes_nothing() -> None:
    player = mixed(sick(0.2), None).run(400.0)
    assert player.restores == 1


def test_what_was_broken_before_the_deploy_holds_whatever_the_policy_says() -> None:
    player = mixed(sick(0.3), sick(0.3), policy(), before={"error_rate": (800.0, 40_000.0)}).run(1500.0)
    assert player.restores == 0
    assert "it did so before this deploy already" in player.announced("held")[0].fields["reason"]


def test_the_alarm_that_clears_while_the_control_is_asked_rolls_nothing_back() -> None:
    player = mixed(sick(0.2, 100.0, 150.0), steady(0.05)).run(1200.0)
    assert player.restores in {0, 1}
    assert player.watch.versus is None


def test_the_control_is_read_only_while_both_serve() -> None:
    watch, _ = folding.opened(opening(HOLDS, split=HALF))
    assert plan(watch).control == OLD
    watch, _ = folding.opened(opening(HOLDS))
    assert plan(watch).control is None


def test_a_journal_of_a_held_watch_gives_the_same_watch() -> None:
    player: Player = mixed(sick(0.2), sick(0.2, 100.0, 500.0)).run(900.0)
    again, commands = folding.replay(decode(*encode(e)[:2], e.at, encode(e)[2]) for e in player.journal)
    assert again == player.watch
    assert commands == player.commands
