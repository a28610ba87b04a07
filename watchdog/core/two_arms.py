"""Two revisions that serve the same users in the same seconds: is the second one better, as sick, or sick in a new way?

For a block of 5 s in which the target answered `n` requests and the watched revision `m`, each hypothesis H about their
two failure shares is tested by an e-value: the likelihood of the block under an alternative that only earlier blocks
chose, over its likelihood at that point of H which is nearest to the alternative (n and m as weights of the two
Kullback-Leibler divergences). For a convex H its expectation is at most 1 whatever the true point of H is, because the
divergence's derivative at its minimum points away from H (Turner, Ly and Gruenwald, "Generic E-variables for exact
sequential k-sample tests", 2024; Turner and Gruenwald, "Exact anytime-valid confidence intervals for contingency
tables", 2023). The product over blocks may be looked at after each of them: by Ville's inequality it ever reaches
1/alpha under H with a probability of at most alpha. The shares may change from block to block, so what both suffer in
the same seconds (a dependency, a burst of traffic) speaks for neither.

Four errors, each bounded for one trial:

| said | refused hypothesis | alpha |
|---|---|---|
| it helps | the target fails at least half as often as the watched revision | 5 % |
| it does not help | the target fails at most half as often; and: the target keeps the row's own limit | 1 % |
| it is worse | the target fails at most twice as often | 5 % |
| it fails otherwise | the failures of both are of the same kinds, in the same proportions | 5 % |

So a target that would at least halve the failures, or that is within the limit, is refused in 1 trial of 100 at most.
"""

from collections.abc import Sequence
from enum import StrEnum
from math import exp, log, log1p, sqrt
from typing import NamedTuple

from watchdog.core.origins import Origin

HALF = 0.5
"""Going back helps when it at least halves the failures."""
TWICE = 2.0
ALPHA_HELPS = 0.05
ALPHA_REFUSED = 0.01
ALPHA_KIND = 0.05
BLOCKS_REFUSED = 2
"""A block adds at most one half of what a refusal needs: one bad burst of 5 s never decides it."""
STRENGTH = 10.0
"""Requests that the first guess about each arm's share counts as; every block then moves it."""
OTHER = "other"
KINDS = ("500", "502", "503", "504", OTHER)
"""Kinds of failure that are told apart. Fixed beforehand: a test may not choose what it tells apart by what it sees."""
KIND_SEEN = 0.5
"""Failures of each kind that every arm is supposed to have shown before (Krichevsky and Trofimov)."""
LEAST_SHARE = 1e-4


class Served(NamedTuple):
    """What one revision answered in a block."""

    bad: float = 0.0
    total: float = 0.0
    kinds: tuple[tuple[str, float], ...] = ()
    addresses: tuple[Origin, ...] = ()
    """Who was behind the bad ones of a single block."""

    def plus(self, other: "Served") -> "Served":
        """Both added up."""
        kinds = dict(self.kinds)
        for kind, n in other.kinds:
            kinds[kind] = kinds.get(kind, 0.0) + n
        return Served(self.bad + other.bad, self.total + other.total, tuple(sorted(kinds.items())))


class Block(NamedTuple):
    """The same seconds of both. `end` is Unix seconds."""

    end: float
    watched: Served
    target: Served
    settled: bool = True
    """Whether failures of the target count against it: not while it may still be starting."""


class Finding(StrEnum):
    """What the two arms prove."""

    HELPS = "helps"
    AS_SICK = "as_sick"
    SICK_OTHERWISE = "sick_otherwise"
    UNDECIDED = "undecided"


class Weights(NamedTuple):
    """Natural logarithms of the e-values so far, by what they speak for."""

    helps: float = 0.0
    not_half: float = 0.0
    over_limit: float = 0.0
    worse: float = 0.0
    other_kinds: float = 0.0
    from_start: float = 0.0
    once_settled: float = 0.0
    """Of a cold target, `helps` with all blocks, and with the settled ones alone: half of the stake is on each."""

    @property
    def finding(self) -> Finding:
        """What is proven."""
        if self.helps >= log(1.0 / ALPHA_HELPS):
            return Finding.HELPS
        if min(self.not_half, self.over_limit) < log(1.0 / ALPHA_REFUSED):
            return Finding.UNDECIDED
        new = max(self.worse, self.other_kinds) >= log(1.0 / ALPHA_KIND)
        return Finding.SICK_OTHERWISE if new else Finding.AS_SICK


class Known(NamedTuple):
    """What is known before the trial: the watched revision's bad share at the alarm, the row's limit as a share of bad
    requests, and the burstiness D by which every block's weight is divided."""

    share: float
    limit: float
    burstiness: float = 1.0
    cold: bool = False
    """Whether the target may have to start first: then its failures of that time need not be outweighed later."""


def weigh(blocks: Sequence[Block], known: Known) -> tuple[Finding, Weights]:
    """Add up blocks in the order of time until something is proven; a proof stands, whatever comes after it."""
    weights, watched, target, warm = Weights(), Served(), Served(), Served()
    for block in blocks:
        weights = _helping(weights, block, watched, target, warm, known)
        if block.settled:
            weights = _refusing(weights, block, watched, target, known)
            warm = warm.plus(block.target)
        if weights.finding is not Finding.UNDECIDED:
            return weights.finding, weights
        watched, target = watched.plus(block.watched), target.plus(block.target)
    return Finding.UNDECIDED, weights


def _helping(weights: Weights, block: Block, watched: Served, target: Served, warm: Served, known: Known) -> Weights:
    """What one more block says for "going back helps". `watched` and `target` are what was counted before it, `warm` is
    what of the target's was counted once it had settled."""
    d, b = max(1.0, known.burstiness), _guess(watched, known.share)
    first = min(known.limit * HALF, known.share * HALF * HALF)
    from_start = weights.from_start + _against_more(block, _guess(target, first), b, HALF) / d
    if not known.cold:
        return weights._replace(helps=from_start, from_start=from_start)
    once_settled = weights.once_settled
    if block.settled:
        once_settled += _against_more(block, _guess(warm, first), b, HALF) / d
    high, low = max(from_start, once_settled), min(from_start, once_settled)
    both = high + log1p(exp(low - high)) - log(2.0)
    return weights._replace(helps=both, from_start=from_start, once_settled=once_settled)


def _refusing(weights: Weights, block: Block, watched: Served, target: Served, known: Known) -> Weights:
    """… and against it."""
    share, d = _clipped(known.share), max(1.0, known.burstiness)
    b, same = _guess(watched, share), _guess(target, share)
    worse = _guess(target, (share + 1.0) * HALF)
    most = log(1.0 / ALPHA_REFUSED) / BLOCKS_REFUSED
    return weights._replace(
        not_half=weights.not_half + min(most, _against_less(block, same, b, HALF) / d),
        over_limit=weights.over_limit + min(most, _against_limit(block.target, same, known.limit) / d),
        worse=weights.worse + _against_less(block, worse, b, TWICE) / d,
        other_kinds=weights.other_kinds + _against_same_kinds(block, watched, target) / d,
    )


def _guess(arm: Served, first: float) -> float:
    return _clipped((arm.bad + STRENGTH * _clipped(first)) / (arm.total + STRENGTH))


def _clipped(share: float) -> float:
    return min(max(share, LEAST_SHARE), 1.0 - LEAST_SHARE)


# --- hypotheses about the two shares ------------------------------------------------------------------------------


def _against_less(block: Block, a: float, b: float, ratio: float) -> float:
    """Ln e against "the target's share is at most `ratio` times the watched one's", with the alternative (a, b)."""
    return 0.0 if a <= ratio * b else _likelier(block, a, b, ratio)


def _against_more(block: Block, a: float, b: float, ratio: float) -> float:
    """… against "at least `ratio` times"."""
    return 0.0 if a >= ratio * b else _likelier(block, a, b, ratio)


def _likelier(block: Block, a: float, b: float, ratio: float) -> float:
    a0, b0 = nearest(a, b, block.target.total, block.watched.total, ratio)
    return _ratio(block.target, a, a0) + _ratio(block.watched, b, b0)


def _against_limit(target: Served, a: float, limit: float) -> float:
    """… against "the target keeps the limit"."""
    return 0.0 if a <= limit else _ratio(target, a, _clipped(limit))


def _ratio(arm: Served, p: float, q: float) -> float:
    """Ln of the likelihood of an arm's counts at the share p over that at q."""
    bad = min(arm.bad, arm.total)
    return bad * log(p / q) + (arm.total - bad) * log((1.0 - p) / (1.0 - q))


def nearest(a: float, b: float, n: float, m: float, ratio: float) -> tuple[float, float]:
    """The point (ratio·t, t) that is nearest to (a, b): minimises ``n·KL(a, ratio·t) + m·KL(b, t)``.

    Setting the derivative to zero gives ``A·t² − B·t + S = 0`` with ``S = n·a + m·b``,
    ``A = ratio·S + ratio·n·(1 − a) + ratio·m·(1 − b)`` and ``B = (1 + ratio)·S + ratio·n·(1 − a) + m·(1 − b)``; the
    smaller root lies between 0 and 1 when ratio ≤ 1. For a larger one the two change places.
    """
    if n + m <= 0.0:
        return a, b
    if ratio > 1.0:
        b0, a0 = nearest(b, a, m, n, 1.0 / ratio)
        return a0, b0
    s, u, v = n * a + m * b, ratio * n * (1.0 - a), m * (1.0 - b)
    big, mid = ratio * s + u + ratio * v, (1.0 + ratio) * s + u + v
    t = _clipped((mid - sqrt(max(0.0, mid * mid - 4.0 * big * s))) / (2.0 * big))
    return ratio * t, t


# --- kinds of failure ---------------------------------------------------------------------------------------------


def _against_same_kinds(block: Block, watched: Served, target: Served) -> float:
    """… against "both fail in the same ways": the failures alone, by kind, compared as two multinomials."""
    m, n = _by_kind(block.watched), _by_kind(block.target)
    sum_m, sum_n = sum(m.values()), sum(n.values())
    if not sum_m or not sum_n:
        return 0.0
    p, q = _expected(watched), _expected(target)
    total = 0.0
    for kind in KINDS:
        both = (sum_m * p[kind] + sum_n * q[kind]) / (sum_m + sum_n)
        total += m[kind] * log(p[kind] / both) + n[kind] * log(q[kind] / both)
    return total


def _by_kind(arm: Served) -> dict[str, float]:
    found = dict.fromkeys(KINDS, 0.0)
    for kind, count in arm.kinds:
        found[kind if kind in found else OTHER] += count
    return found


def _expected(arm: Served) -> dict[str, float]:
    """The share of each kind among an arm's failures, as earlier blocks suggest it."""
    seen = _by_kind(arm)
    whole = sum(seen.values()) + len(KINDS) * KIND_SEEN
    return {kind: (count + KIND_SEEN) / whole for kind, count in seen.items()}
