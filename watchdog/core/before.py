"""What the hour before the deploy says of the rows: whether one was broken already, and how bursty its events come.

A row that was broken before cannot be mended by going back, so it asks for more than there was: 1.5 times the upper
95 % bound of the share before (research/statistics.md section 5). It disarms that row only, until it worsens.
"""

from collections.abc import Mapping, Sequence
from math import inf, log

from watchdog.core.catalogue import Family
from watchdog.core.sequential import burstiness

SURE = log(100.0)
"""Natural logarithm of the odds at which a row counts as broken before."""
BOUND = log(20.0)
"""… of one in twenty, for the upper 95 % bound."""
WORSE = 1.5
MOST = 0.98
"""No row asks for a larger share than this."""
LEAST_SLOTS, LEAST_BAD = 20, 10.0
"""Fewer slots or bad events do not tell bursts from chance."""
CLIP: Mapping[Family, float] = {Family.ERRORS: 3.0, Family.LATENCY: inf}
"""How far a measured burstiness is believed (DESIGN section 4; latency has a ladder made for bursts)."""


def broken(bad: float, total: float, p0: float) -> bool:
    """Whether `bad` of `total` prove a share above `p0` (Chernoff's bound on the binomial tail, 1 %)."""
    return total > 0.0 and bad / total > p0 and total * _divergence(bad / total, p0) >= SURE


def kept(bad: float, total: float, limit: float) -> bool:
    """Whether `bad` of `total` prove a share below `limit`, as surely."""
    return total > 0.0 and bad / total < limit and total * _divergence(bad / total, limit) >= SURE


def upper(bad: float, total: float) -> float:
    """The largest share that `bad` of `total` leave likely: Chernoff's upper 95 % bound, by bisection."""
    found = bad / total
    low, high = found, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if total * _divergence(found, middle) < BOUND else (low, middle)
    return high


def _divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of two shares, nats."""
    q = min(max(q, 1e-12), 1.0 - 1e-12)
    return (p * log(p / q) if p > 0.0 else 0.0) + ((1.0 - p) * log((1.0 - p) / (1.0 - q)) if p < 1.0 else 0.0)


def worse_than(bad: float, total: float, p0: float) -> float | None:
    """The share that a row with limit `p0` asks for instead, when it was broken before; None when it was not."""
    return min(MOST, WORSE * upper(bad, total)) if broken(bad, total, p0) else None


def spread(slots: Sequence[tuple[float, float]], family: Family) -> float | None:
    """D from (bad, total) of 60 s slots before the deploy; None when they are too few to tell."""
    total, bad = sum(n for _, n in slots), sum(b for b, _ in slots)
    if sum(n > 0.0 for _, n in slots) < LEAST_SLOTS or bad < LEAST_BAD:
        return None
    return burstiness(slots, bad / total, most=CLIP[family])
