"""What no rule can beat, and how sure a counted share is.

The bound on a delay has two parts. The *persistence floor* is a choice of ours: the fastest severity that gains on a
fault asks for M bad slots, so that a blip cannot move traffic. The *Lorden-type bound* is not: to notice a change from
p0 to p at an unknown moment, with at most alpha false alarms in a day, takes about ``ln(chances / alpha) / KL(p, p0)``
requests in the mean (Lorden 1971), where `chances` is how many moments the fault could have begun at: slots, or
requests where those are fewer.
"""

from math import inf, log, sqrt
from typing import Final, Protocol

import numpy as np

from benchmarks.detection_parts.streams import DAY_S, DIURNAL, Floats
from benchmarks.detection_parts.twin import Feed
from watchdog.core.sequential import ERRORS, fit

P0: Final = 0.01
ALPHA: Final = 0.005
Z95: Final = 1.959963984540054
HALVINGS: Final = 50


class Traffic(Protocol):
    """Of many watches: requests a second, the phase of the day, and when the fault began."""

    @property
    def rps(self) -> Floats:
        """Requests a second, daily mean."""
        ...

    @property
    def phase(self) -> Floats:
        """Of the diurnal curve, radians."""
        ...

    @property
    def onset(self) -> Floats:
        """When the fault begins, seconds."""
        ...


def divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of Bernoulli(p) from Bernoulli(q), in nats."""
    good = (1 - p) * log((1 - p) / (1 - q)) if p < 1.0 else 0.0
    return good + (p * log(p / q) if p > 0.0 else 0.0)


def floor_s(share: float, feed: Feed) -> float:
    """The least time in which the shipped ladder can alarm at this share of errors; inf where no severity gains."""
    gaining = [
        r.slot_s * r.cap_slots for r in fit(ERRORS, feed.period_s) if share * log(r.rho) > log(1.0 + P0 * (r.rho - 1.0))
    ]
    return min(gaining, default=inf)


def lorden_requests(share: float, rps: float, feed: Feed) -> float:
    """The Lorden-type bound in requests."""
    chances = min(rps * DAY_S, DAY_S / feed.period_s)
    return log(chances / ALPHA) / divergence(share, P0)


def bounds_s(share: float, days: Traffic, feed: Feed) -> Floats:
    """Floor and Lorden-type bound together, without the feed's lag, for each watch: in the traffic that it has from its
    onset on, since a fault in the night shows itself in fewer requests."""
    found: Floats = np.full(len(days.rps), floor_s(share, feed), dtype=np.float64)
    for rps in np.unique(days.rps):
        at = days.rps == rps
        found[at] += _seconds(lorden_requests(share, float(rps), feed) / rps, days.phase[at], days.onset[at])
    return found


def _seconds(mean_s: float, phase: Floats, onset: Floats) -> Floats:
    """How long it takes from `onset` on to expect what an even day brings in `mean_s` seconds."""
    turn = 2 * np.pi / DAY_S

    def expected(seconds: Floats) -> Floats:
        wave: Floats = np.cos(turn * onset + phase) - np.cos(turn * (onset + seconds) + phase)
        return seconds + DIURNAL / turn * wave

    low, high = np.zeros(len(onset)), np.full(len(onset), mean_s / (1.0 - DIURNAL))
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        enough = expected(middle) >= mean_s
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share (Wilson 1927)."""
    if of == 0:
        return 0.0, 1.0
    p, z2 = hits / of, Z95 * Z95
    middle, half = p + z2 / (2 * of), Z95 * sqrt(p * (1 - p) / of + z2 / (4 * of * of))
    low, high = (middle - half) / (1 + z2 / of), (middle + half) / (1 + z2 / of)
    return (0.0 if hits == 0 else low), (1.0 if hits == of else high)
