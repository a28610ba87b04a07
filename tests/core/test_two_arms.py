"""The statistics of a trial keep the errors that they promise, and find what they can."""

import random
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.core.two_arms import (
    ALPHA_HELPS,
    ALPHA_KIND,
    ALPHA_REFUSED,
    HALF,
    TWICE,
    Block,
    Finding,
    Known,
    Served,
    nearest,
    weigh,
)

BLOCKS = 11
"""What a minute holds behind the feed's lag."""
shares = st.floats(0.001, 0.999)
sizes = st.integers(1, 40)


def binomial(n: int, p: float) -> list[float]:
    """P(b of n)."""
    out, q = [], 1.0 - p
    weight = q**n
    for b in range(n + 1):
        out.append(weight)
        weight *= (n - b) / (b + 1) * p / q
    return out


@given(a=shares, b=shares, t=shares, n=sizes, m=sizes, ratio=st.sampled_from([HALF, 1.0, TWICE]))
def test_a_block_is_worth_at_most_one_wherever_the_refused_hypothesis_is_true(
    a: float, b: float, t: float, n: int, m: int, ratio: float
) -> None:
    """The exact expectation over every outcome, with true shares on the edge of "at most `ratio` times" or within."""
    if a <= ratio * b:
        a, b = b, a
    if a <= ratio * b:
        return
    a0, b0 = nearest(a, b, n, m, ratio)
    for true_a, true_b in ((min(ratio * t, 0.999), t if ratio * t < 1 else 0.999 / ratio), (t * ratio / 3.0, t)):
        if true_a > ratio * true_b + 1e-12 or true_a >= 1.0:
            continue
        arms = ((binomial(n, true_a), a, a0, n), (binomial(m, true_b), b, b0, m))
        worth = 1.0
        for weights, p, q, size in arms:
            worth *= sum(w * exp(k * log(p / q) + (size - k) * log((1 - p) / (1 - q))) for k, w in enumerate(weights))
        assert worth <= 1.0 + 1e-6


def one(
    chance: random.Random,
    *,
    rate: float,
    watched: float,
    target: float,
    limit: float = 0.01,
    kinds: tuple[str, str] = ("503", "503"),
) -> tuple[Finding, int]:
    """One trial of a fifth at so many requests a second: the finding, and after how many blocks."""
    blocks: list[Block] = []
    found = Finding.UNDECIDED
    for k in range(BLOCKS):
        arms = []
        for share, part, kind in ((watched, 0.8, kinds[0]), (target, 0.2, kinds[1])):
            total = sum(chance.random() < part for _ in range(round(rate * 5)))
            bad = sum(chance.random() < share for _ in range(total))
            arms.append(Served(bad, total, ((kind, float(bad)),) if bad else ()))
        blocks.append(Block(5.0 * k, arms[0], arms[1], settled=k > 0))
        found, _ = weigh(blocks, Known(share=watched, limit=limit))
        if found is not Finding.UNDECIDED:
            break
    return found, len(blocks)


def often(n: int, wanted: set[Finding], **world: object) -> float:
    chance = random.Random(repr(sorted(world.items())))
    return sum(one(chance, **world)[0] in wanted for _ in range(n)) / n  # type: ignore[arg-type]


REFUSED = {Finding.AS_SICK, Finding.SICK_OTHERWISE}


@pytest.mark.parametrize("rate", [4.0, 30.0])
@pytest.mark.parametrize("watched", [0.05, 0.3, 1.0])
def test_a_target_that_halves_the_failures_is_hardly_ever_refused(rate: float, watched: float) -> None:
    """On the very edge, where it is hardest: at most ALPHA_REFUSED, and three standard errors of 300 trials."""
    share = often(300, REFUSED, rate=rate, watched=watched, target=watched * HALF)
    assert share <= ALPHA_REFUSED + 0.02


@pytest.mark.parametrize("rate", [4.0, 30.0])
@pytest.mark.parametrize("watched", [0.02, 0.3])
def test_a_target_within_the_limit_is_hardly_ever_refused(rate: float, watched: float) -> None:
    assert often(300, REFUSED, rate=rate, watched=watched, target=0.01) <= ALPHA_REFUSED + 0.02


@pytest.mark.parametrize("watched", [0.05, 0.3, 1.0])
def test_a_target_that_fails_half_as_often_is_hardly_ever_said_to_help(watched: float) -> None:
    share = often(300, {Finding.HELPS}, rate=20.0, watched=watched, target=watched * HALF)
    assert share <= ALPHA_HELPS + 0.035


def test_a_shared_fault_of_one_kind_is_hardly_ever_called_another() -> None:
    share = often(300, {Finding.SICK_OTHERWISE}, rate=20.0, watched=0.4, target=0.4)
    assert share <= 2 * ALPHA_KIND + 0.035  # worse or otherwise: two tests


@pytest.mark.parametrize(
    "rate, watched, target, kinds, wanted",
    [
        (20.0, 0.3, 0.0, ("503", "503"), Finding.HELPS),
        (5.0, 1.0, 0.0, ("503", "503"), Finding.HELPS),
        (50.0, 0.08, 0.0, ("500", "500"), Finding.HELPS),
        (20.0, 0.5, 0.5, ("503", "503"), Finding.AS_SICK),
        (5.0, 1.0, 1.0, ("503", "503"), Finding.AS_SICK),
        (20.0, 0.3, 1.0, ("503", "500"), Finding.SICK_OTHERWISE),
        (20.0, 0.5, 0.5, ("503", "500"), Finding.SICK_OTHERWISE),
    ],
)
def test_what_is_plain_is_found_within_the_minute(
    rate: float, watched: float, target: float, kinds: tuple[str, str], wanted: Finding
) -> None:
    assert often(40, {wanted}, rate=rate, watched=watched, target=target, kinds=kinds) >= 0.9


def test_what_both_suffer_in_the_same_seconds_speaks_for_neither() -> None:
    """A dependency that fails for all, in every other block: never "it helps"."""
    blocks = [Block(5.0 * k, Served(40.0 * (k % 2), 80.0), Served(10.0 * (k % 2), 20.0)) for k in range(BLOCKS)]
    assert weigh(blocks, Known(share=0.25, limit=0.01))[0] is not Finding.HELPS


def test_one_bad_burst_of_a_block_refuses_nothing() -> None:
    burst = [Block(5.0, Served(80.0, 80.0), Served(20.0, 20.0))]
    assert weigh(burst, Known(share=0.5, limit=0.01))[0] is Finding.UNDECIDED


def test_failures_of_a_target_that_may_be_starting_do_not_count_against_it() -> None:
    cold = [Block(5.0 * k, Served(40.0, 80.0), Served(20.0, 20.0), settled=False) for k in range(6)]
    assert weigh(cold, Known(share=0.5, limit=0.01))[0] is Finding.UNDECIDED


def test_clustered_errors_weigh_less() -> None:
    blocks = [Block(5.0, Served(30.0, 80.0), Served(0.0, 20.0))]
    _, once = weigh(blocks, Known(share=0.3, limit=0.01))
    _, thrice = weigh(blocks, Known(share=0.3, limit=0.01, burstiness=3.0))
    assert thrice.helps == pytest.approx(once.helps / 3.0)
