"""Does a gauge creep up on its limit? Least squares over quarter-hour means, with a confidence that knows about memory.

A leak shows as a slope long before any threshold breaks. Neighbouring means resemble each other, which would make every
wobble look certain, so the number of independent points is corrected for lag-1 autocorrelation (Bartlett 1946:
``n·(1 − r)/(1 + r)``).
"""

from dataclasses import dataclass
from itertools import pairwise
from math import erf, sqrt

BUCKET_S = 900.0
LEAST = 8
"""Quarter hours (two hours) before anything is said."""
MOST = 200
"""Quarter hours kept: two days, more than any watch."""
CONFIDENCE = 0.9995
"""High, since it is asked anew every quarter hour."""
RISEN = 0.12
"""The part of the way to the limit that must lie behind it already: a slope over a small rise is weather."""
HORIZON_S = 86_400.0
"""Growth that would take longer than this to reach the limit is nobody's worry tonight."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """The mean of a quarter hour. `start` is Unix seconds."""

    start: float
    n: int
    mean: float


@dataclass(frozen=True, slots=True)
class Trend:
    """One gauge's quarter-hour means, oldest first; the last one is still filling."""

    buckets: tuple[Bucket, ...] = ()

    def add(self, end: float, x: float) -> "Trend":
        """One more reading. Readings older than the bucket that is filling are left out."""
        start = end - end % BUCKET_S
        last = self.buckets[-1] if self.buckets else None
        if last is None or start > last.start:
            return Trend((*self.buckets, Bucket(start, 1, x))[-MOST:])
        if start < last.start:
            return self
        mean = last.mean + (x - last.mean) / (last.n + 1)
        return Trend((*self.buckets[:-1], Bucket(start, last.n + 1, mean)))


@dataclass(frozen=True, slots=True)
class Growth:
    """A trend that is real: `per_hour` in the gauge's unit, `reaches_in_s` until the limit, `confidence` 0..1."""

    per_hour: float
    level: float
    reaches_in_s: float
    confidence: float


def growth(trend: Trend, limit: float) -> Growth | None:
    """How the gauge grows towards an upper limit; None when it does not, not surely, or not soon."""
    done = trend.buckets[:-1]
    if len(done) < LEAST:
        return None
    hours = [(b.start - done[0].start) / 3600.0 for b in done]
    level = [b.mean for b in done]
    n = len(done)
    mean_h, mean_x = sum(hours) / n, sum(level) / n
    spread = sum((h - mean_h) ** 2 for h in hours)
    slope = sum((h - mean_h) * (x - mean_x) for h, x in zip(hours, level, strict=True)) / spread
    began, now = mean_x + slope * (hours[0] - mean_h), mean_x + slope * (hours[-1] - mean_h)
    if slope <= 0.0 or now >= limit or now - began < RISEN * (limit - began):
        return None
    rest = [x - (mean_x + slope * (h - mean_h)) for h, x in zip(hours, level, strict=True)]
    noise = sum(e * e for e in rest)
    sure = _confidence(slope, noise, spread, rest)
    reaches = (limit - now) / slope * 3600.0
    if sure < CONFIDENCE or reaches > HORIZON_S:
        return None
    return Growth(slope, now, reaches, sure)


def _confidence(slope: float, noise: float, spread: float, rest: list[float]) -> float:
    """One-sided: the chance that the true slope is above zero, given the noise about the line."""
    n = len(rest)
    if noise <= 1e-18 * spread:
        return 1.0
    r = max(0.0, min(0.95, sum(a * b for a, b in pairwise(rest)) / noise))
    independent = max(3.0, n * (1.0 - r) / (1.0 + r))
    error = sqrt(noise / max(1.0, independent - 2.0) / (spread * independent / n))
    return 0.5 * (1.0 + erf(slope / error / sqrt(2.0)))
