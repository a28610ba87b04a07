"""The hour before the deploy: a row that was broken already asks for worse, bursts count for what they are."""

from math import inf
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.core.player import World, play
from tests.core.watches import T0, opening, policy, state_of
from watchdog.core import before
from watchdog.core import watch as folding
from watchdog.core.catalogue import Family
from watchdog.core.rules import compile_rules

BROKEN = {"error_rate": (600.0, 20_000.0)}


def test_a_stray_error_in_a_quiet_hour_is_no_breach() -> None:
    assert not before.broken(1.0, 10.0, 0.01)
    assert before.broken(10.0, 100.0, 0.01)
    assert not before.broken(0.0, 0.0, 0.01)
    assert not before.broken(5.0, 1000.0, 0.01)


@given(st.integers(0, 2000), st.integers(1, 100_000), st.floats(1e-4, 0.5))
def test_what_is_asked_for_is_worse_than_what_was(bad: int, total: int, p0: float) -> None:
    bad = min(bad, total)
    worse = before.worse_than(bad, total, p0)
    if worse is not None:
        assert bad / total > p0
        assert worse == before.MOST or worse > bad / total
    assert bad / total <= before.upper(bad, total) <= 1.0


def test_the_upper_bound_is_near_the_exact_one() -> None:
    # Clopper and Pearson's one-sided 95 % bounds of 0/100 and 10/1000 are 2.95 % and 1.69 %; Chernoff's lie above.
    assert 0.0295 <= before.upper(0.0, 100.0) < 0.031
    assert 0.0169 <= before.upper(10.0, 1000.0) < 0.021


def test_a_row_that_was_broken_does_not_roll_back_until_it_worsens() -> None:
    same = play(World(requests=lambda at: (1.5, 50.0)), before=BROKEN).run(3600.0)
    assert same.restores == 0
    assert any("was broken before this deploy already (3 %" in n for n in same.watch.notes)
    worse = play(World(requests=lambda at: (10.0 if at > T0 + 300.0 else 1.5, 50.0)), before=BROKEN).run(900.0)
    assert worse.restores == 1
    assert "because it was broken before" in worse.watch.decisions[-1].reason
    control = play(World(requests=lambda at: (1.5, 50.0))).run(3600.0)
    assert control.restores == 1, "the same share without that past"


def test_other_rows_keep_their_limits() -> None:
    made = policy()
    rules = compile_rules(made, before=BROKEN)
    plain = compile_rules(made)
    changed = [a.label for a, b in zip(rules.rules, plain.rules, strict=True) if a.p0 != b.p0]
    assert changed
    assert all(label.startswith("error_rate") for label in changed)
    over = [r for r in rules.rules if r.label.startswith("error_rate") and not r.inherited]
    assert [r.p0 for r in over] == [0.05], "error_rate > 5% was not broken by 3 %"


def test_bursts_are_measured_where_there_is_enough_to_tell() -> None:
    calm = [(2.0, 600.0)] * 60
    assert before.spread(calm, Family.ERRORS) == 1.0
    bursts = [(60.0 if i % 20 == 0 else 0.0, 600.0) for i in range(60)]
    assert before.spread(bursts, Family.ERRORS) == 3.0, "no more is believed of errors"
    assert (before.spread(bursts, Family.LATENCY) or 0.0) > 10.0
    assert before.spread([(0.0, 600.0)] * 60, Family.ERRORS) is None
    assert before.spread(bursts[:10], Family.ERRORS) is None
    assert before.CLIP[Family.LATENCY] == inf


def test_a_measured_burstiness_slows_the_proof_and_is_said() -> None:
    def delay(**more: Any) -> float:
        player = play(World(requests=lambda at: (1.0 if at > T0 + 100.0 else 0.0, 50.0)), **more).run(2000.0)
        return player.told("decision")[0]

    assert delay(burstiness={"error_rate": 3.0}) > delay()
    said, _ = folding.opened(opening(burstiness={"error_rate": 2.0}, before={"error_rate": (40.0, 40_000.0)}))
    assert any("came in bursts (D = 2.0)" in n for n in said.notes)
    unknown, _ = folding.opened(opening(before={"error_rate": (2.0, 40_000.0)}))
    assert any("how bursty error_rate is" in n for n in unknown.notes)
    assert state_of(unknown, unknown.rules.rules[0].row.id) is not None


def test_nothing_is_said_without_an_hour_before() -> None:
    watch, _ = folding.opened(opening())
    assert not [n for n in watch.notes if "burst" in n]


def test_latency_is_held_against_its_own_counts() -> None:
    rules = compile_rules(policy(), before={"slower_than_500ms_upper": (300.0, 1000.0)})
    (p95,) = [r for r in rules.rules if r.row.metric == "p95_latency"]
    assert p95.inherited
    assert p95.p0 > 0.45
