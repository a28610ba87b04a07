"""The evidence meter: an anytime-valid test of "is the bad share above p0?", looked at as often as one likes.

The rule is the capped multi-severity e-detector of DESIGN section 4. For each severity rho a slot with `n` requests and
`b` bad ones scores ``x = (b·ln rho − n·ln(1 + p0·(rho − 1))) / D``, capped so that one slot adds at most 1/M of an
alarm; wealth follows ``W ← (W + w_j)·exp(x)``, ``w_j = 1/(H_N·(j + 1))``; the alarm is ``W ≥ K/alpha``. Were the bad
share never above p0, E[W] ≤ 1 at any time, so by Ville's inequality and a union bound over the K severities a false
alarm ever happens with probability ≤ alpha (Shin, Ramdas and Rinaldo, "E-detectors", 2023).

How counts come in, late and doubled, and are cut into slots, is `core.series`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import exp, log
from typing import NamedTuple

SEEN_SLOTS = 1000
"""Slots after which a change is supposed to come, where nothing says when it came."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One severity: ratio `rho` to p0, slot length, and how many slots (M) an alarm needs at least."""

    rho: float
    slot_s: float
    cap_slots: int


Ladder = tuple[Rung, ...]

ERRORS: Ladder = (Rung(1.2, 300, 3), Rung(1.6, 60, 4), Rung(3, 30, 4), Rung(8, 10, 4), Rung(60, 5, 6))
LATENCY: Ladder = (Rung(1.3, 300, 3), Rung(2, 60, 5), Rung(5, 60, 4), Rung(30, 30, 4))
PROBES: Ladder = (Rung(3, 120, 4), Rung(15, 15, 6), Rung(200, 10, 5))
"""Chosen by simulation (benchmarks/probe_ladder.py, table in docs/evidence.md): at no probing interval do 5 s blips
raise an alarm, nor 1.8 % lost probes or 20 s blips in more than about 1 watch of 400."""


def fit(ladder: Ladder, period_s: float) -> Ladder:
    """The ladder for a feed of `period_s` wide samples: a shorter slot becomes one period, with M = 3."""
    return tuple(r if r.slot_s >= period_s else Rung(r.rho, period_s, 3) for r in ladder)


@cache
def harmonic(n: int) -> float:
    """H_n = 1 + 1/2 + … + 1/n."""
    return sum(1.0 / k for k in range(1, n + 1))


class Terms(NamedTuple):
    """What the slots of one rung are scored by."""

    gain: float
    """What a bad event adds to the score …"""
    price: float
    """… and what every event takes away."""
    bet: float
    """The first slot's; slot j has a (j + 1)-th of it."""
    top: float
    """ln of the wealth that is an alarm."""
    cap_slots: int


def grown(
    terms: Sequence[Terms], wealth: Sequence[float], slot: int, counts: Sequence[tuple[float, float]]
) -> list[tuple[float, ...]]:
    """The wealth of some rungs with slots of one length after each of `counts`: (bad, total) of the slots that follow
    one another from number `slot` on."""
    paths = []
    for (gain, price, first, top, cap_slots), before in zip(terms, wealth, strict=True):
        w, path = before, []
        for number, (bad, total) in enumerate(counts, slot + 1):
            x, bet = bad * gain - total * price, first / number
            if x > 0.0:
                x = min(x, (top - log(bet)) / cap_slots)
            w = (w + bet) * exp(x)
            path.append(w)
        paths.append(path)
    return list(zip(*paths, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """How one row is judged: everything about its meter that does not change during a watch."""

    p0: float
    alpha: float
    burstiness: float
    ladder: Ladder
    horizon: tuple[float, ...]
    """H_N of each rung."""
    need: float
    """The wealth that is an alarm: K/alpha."""
    terms: tuple[Terms, ...]
    """Of each rung."""
    enough: float
    """Events after which five times p0 would be expected to have raised an alarm: fewer prove nothing."""

    @classmethod
    def start(cls, *, p0: float, alpha: float, burstiness: float, ladder: Ladder, watch_s: float) -> "Meter":
        """The meter of a watch of `watch_s` seconds."""
        d, need = max(1.0, burstiness), len(ladder) / alpha
        horizon = tuple(harmonic(max(1, int(watch_s // r.slot_s))) for r in ladder)
        worse = min(0.99, max(5.0 * p0, 1e-6)) if p0 < 0.5 else (1.0 + p0) / 2.0
        return cls(
            p0=p0,
            alpha=alpha,
            burstiness=d,
            ladder=ladder,
            horizon=horizon,
            need=need,
            enough=d * (log(need) + log(horizon[-1] * SEEN_SLOTS)) / _divergence(worse, p0),
            terms=tuple(
                Terms(log(r.rho) / d, log(1.0 + p0 * (r.rho - 1.0)) / d, 1.0 / h, log(need), r.cap_slots)
                for r, h in zip(ladder, horizon, strict=True)
            ),
        )

    def score(self, rung: int, bad: float, total: float) -> float:
        """A slot's score x before the cap: positive when it is worse than the severity's line."""
        return bad * self.terms[rung].gain - total * self.terms[rung].price

    def grown(self, wealth: float, rung: int, slot: int, bad: float, total: float) -> float:
        """The wealth after one more slot with `bad` of `total`."""
        return grown([self.terms[rung]], [wealth], slot, [(bad, total)])[0][0]

    def enough_at(self, p: float) -> float:
        """Events after which a true bad share `p` > p0 would be expected to have raised an alarm.

        Wealth grows by the Kullback-Leibler divergence an event (Lorden 1971); it needs ln(K/alpha), and ln(1/w_j) more
        as the price of not knowing when.
        """
        return self.burstiness * (log(self.need) + log(self.horizon[-1] * SEEN_SLOTS)) / _divergence(p, self.p0)


def _divergence(p: float, p0: float) -> float:
    q0 = min(max(p0, 1e-9), 1 - 1e-9)
    p = min(max(p, q0 * 1.01), 1 - 1e-9)
    return p * log(p / q0) + (1 - p) * log((1 - p) / (1 - q0))


def burstiness(slots: Sequence[tuple[float, float]], p: float, *, most: float = 3.0) -> float:
    """D of (bad, total) in 60 s slots: ``Σ(b − n·p)² / Σ n·p·(1 − p)``, clipped to 1..`most`; 1 without data."""
    expected = sum(n * p * (1 - p) for _, n in slots)
    if expected <= 0:
        return 1.0
    return min(most, max(1.0, sum((b - n * p) ** 2 for b, n in slots) / expected))
