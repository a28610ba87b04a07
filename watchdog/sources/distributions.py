"""Counts and percentiles from a distribution's buckets, with the doubt that buckets leave said out loud.

A bucket knows how many values it holds, not which. So "how many were slower than 500 ms" has an exact answer only when
a bucket edge lies on 500 ms; otherwise there are two, and the evidence meter takes the lower one: it never counts a
request as slow that may have been in time. Cloud Run's edges are 10 ms · 1.1^k (published dashboards), so around 500 ms
the two differ by the requests between 497.9 and 547.6 ms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

EDGE_TOLERANCE = 1e-9
"""Relative: an edge computed as 10 · 1.1^k still lies on the limit that it means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """A distribution. `counts[i]` values lie in `[bounds[i - 1], bounds[i])`; the first and last bucket are open.

    `bounds` and `mean` are in the metric's base unit. `mean` is NaN when it is empty.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    mean: float

    @classmethod
    def of(cls, bounds: Sequence[float], counts: Sequence[int], *, mean: float, total: int, scale: float = 1.0) -> Self:
        """A distribution as the API tells it, brought to base units by `scale`.

        Trailing empty buckets may be left out. Raises `ValueError` when bounds do not ascend, when there are more
        counts than buckets, or when they do not add up to `total` (google/api/distribution.proto asks for all three).
        """
        if not bounds or any(not low < high for low, high in pairwise(bounds)) or not all(map(math.isfinite, bounds)):
            raise ValueError("its bucket bounds do not ascend")
        if len(counts) > len(bounds) + 1 or sum(counts) != total or any(count < 0 for count in counts):
            raise ValueError("its bucket counts do not add up")
        padded = (*counts, *([0] * (len(bounds) + 1 - len(counts))))
        return cls(
            bounds=tuple(bound * scale for bound in bounds), counts=padded, mean=mean * scale if total else math.nan
        )

    @property
    def total(self) -> int:
        """How many values it holds."""
        return sum(self.counts)

    def merged(self, other: Self) -> Self:
        """Both together. Raises `ValueError` when their buckets differ."""
        if self.bounds != other.bounds:
            raise ValueError("distributions with different buckets can't be added")
        mean = math.nan
        if self.total + other.total:
            parts = [(h.mean, h.total) for h in (self, other) if h.total]
            mean = sum(m * n for m, n in parts) / (self.total + other.total)
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return type(self)(bounds=self.bounds, counts=counts, mean=mean)

    def above(self, limit: float) -> tuple[int, int]:
        """How many values are at or above `limit`: surely, and at most. Equal when an edge lies on the limit."""
        slack = abs(limit) * EDGE_TOLERANCE
        lows, highs = (-math.inf, *self.bounds), (*self.bounds, math.inf)
        surely = sum(n for n, low in zip(self.counts, lows, strict=True) if low >= limit - slack)
        at_most = sum(n for n, high in zip(self.counts, highs, strict=True) if high > limit + slack)
        return surely, at_most

    def quantile(self, q: float) -> float:
        """The `q`-quantile (0..1), interpolated within its bucket; NaN when empty.

        `low + (high - low) · (q·N - below) / count`, as Cloud Monitoring computes its percentiles ("Percentiles and
        distribution-valued metrics", cloud.google.com/monitoring/api/v3/distribution-metrics). The first bucket reaches
        down to 0, since nothing measured here is negative; the last one has no width, so it answers its lower bound.
        """
        rank, below = q * self.total, 0
        for i, count in enumerate(self.counts):
            if count and rank <= below + count:
                low = self.bounds[i - 1] if i else min(0.0, self.bounds[0])
                high = self.bounds[i] if i < len(self.bounds) else low
                return low + (high - low) * max(0.0, rank - below) / count
            below += count
        return math.nan


def linear_bounds(*, offset: float, width: float, finite: int) -> tuple[float, ...]:
    """Bounds of `finite` buckets of one width (google/api/distribution.proto, `Linear`)."""
    return tuple(offset + width * i for i in range(finite + 1))


def exponential_bounds(*, scale: float, growth: float, finite: int) -> tuple[float, ...]:
    """Bounds of `finite` buckets that grow by a factor (google/api/distribution.proto, `Exponential`)."""
    return tuple(scale * growth**i for i in range(finite + 1))
